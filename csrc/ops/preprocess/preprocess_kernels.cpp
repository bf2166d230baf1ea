// Compiled once for each instruction set. A destination row is made in three steps that stay in the first-level cache:
// source rows -> two horizontally resized rows (int16, planar) -> one finished row (uint8, planar) -> destination.
// Where all weights are 1 or 0 (no resize, 1080p -> 640, any odd whole scale) the finished row is picked from the
// source.

#include "ops/preprocess/preprocess_kernels.h"

#include <cstring>

#include "ops/preprocess/resize_arithmetic.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace rfkernels::RFK_VARIANT {
namespace {

/// So many destination rows before it is needed, a source row is asked for. A downscale leaps over rows, which the
/// machine does not foresee: a quarter of the time of 1080p -> 640 where the image is not in a cache.
constexpr std::int64_t kRowsAhead = 4;

/// Asks for bytes [first, last] of a source row, into the second cache: the first has no room for rows not yet needed.
/// (Inlined by force: GCC takes a call that only prefetches for one that does nothing, and drops it.)
[[maybe_unused]] __attribute__((always_inline)) inline void prefetch(const std::uint8_t* ahead, std::int32_t first,
                                                                     std::int32_t last) {
    for (std::int32_t byte = first; byte <= last; byte += 64) __builtin_prefetch(ahead + byte, 0, 2);
}

#if defined(__AVX2__)
#define RFK_WIDE_COLUMNS 1
using Vector = __m256i;
constexpr std::int64_t kGroup = 16;  // columns made at a time

// Lanes are filled so that packing two halves of a group gives 16 columns in order: columns 0-3 and 8-11 are one half,
// 4-7 and 12-15 the other.
constexpr std::int64_t kUpperLane = 8;

inline __m128i pixel_pairs_of(const std::uint8_t* source, const std::int32_t* offsets) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + offsets[0]));
    const __m128i second = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + offsets[1]));
    return _mm_unpacklo_epi64(first, second);
}
inline Vector load_pixel_pairs(const std::uint8_t* source, const std::int32_t* offsets) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(pixel_pairs_of(source, offsets)),
                                   pixel_pairs_of(source, offsets + kUpperLane), 1);
}
inline Vector load_weights(const std::uint32_t* weights) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights))),
                                   _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + kUpperLane)), 1);
}
inline Vector broadcast(__m128i lane) {
    return _mm256_broadcastsi128_si256(lane);
}
inline Vector shuffle_bytes(Vector bytes, Vector order) {
    return _mm256_shuffle_epi8(bytes, order);
}
inline Vector low_dwords(Vector a, Vector b) {
    return _mm256_unpacklo_epi32(a, b);
}
inline Vector high_dwords(Vector a, Vector b) {
    return _mm256_unpackhi_epi32(a, b);
}
inline Vector low_words(Vector bytes) {
    return _mm256_unpacklo_epi8(bytes, _mm256_setzero_si256());
}
inline Vector high_words(Vector bytes) {
    return _mm256_unpackhi_epi8(bytes, _mm256_setzero_si256());
}
inline Vector weigh(Vector pairs, Vector weights) {
    return _mm256_srai_epi32(_mm256_madd_epi16(pairs, weights), 4);
}
inline void store(std::int16_t* target, Vector first, Vector second) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), _mm256_packs_epi32(first, second));
}
#elif defined(__SSE4_1__)
#define RFK_WIDE_COLUMNS 1
using Vector = __m128i;
constexpr std::int64_t kGroup = 8;

inline Vector load_pixel_pairs(const std::uint8_t* source, const std::int32_t* offsets) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + offsets[0]));
    const __m128i second = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + offsets[1]));
    return _mm_unpacklo_epi64(first, second);
}
inline Vector load_weights(const std::uint32_t* weights) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights));
}
inline Vector broadcast(__m128i lane) {
    return lane;
}
inline Vector shuffle_bytes(Vector bytes, Vector order) {
    return _mm_shuffle_epi8(bytes, order);
}
inline Vector low_dwords(Vector a, Vector b) {
    return _mm_unpacklo_epi32(a, b);
}
inline Vector high_dwords(Vector a, Vector b) {
    return _mm_unpackhi_epi32(a, b);
}
inline Vector low_words(Vector bytes) {
    return _mm_unpacklo_epi8(bytes, _mm_setzero_si128());
}
inline Vector high_words(Vector bytes) {
    return _mm_unpackhi_epi8(bytes, _mm_setzero_si128());
}
inline Vector weigh(Vector pairs, Vector weights) {
    return _mm_srai_epi32(_mm_madd_epi16(pairs, weights), 4);
}
inline void store(std::int16_t* target, Vector first, Vector second) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm_packs_epi32(first, second));
}
#endif

#if defined(RFK_WIDE_COLUMNS)
/// Columns [column, column + kGroup) of three planes.
template <int kChannels>
inline void resize_group(const std::uint8_t* source, const std::int32_t* offsets, const std::uint32_t* weights,
                         std::int16_t* plane_0, std::int16_t* plane_1, std::int16_t* plane_2) {
    // A lane holds two columns of 8 bytes: pixel, its right neighbour. Brought together channel by channel:
    // c0 c0' of both columns, c1 c1' of both, c2 c2' of both.
    const Vector order =
        broadcast(kChannels == 3 ? _mm_setr_epi8(0, 3, 8, 11, 1, 4, 9, 12, 2, 5, 10, 13, -1, -1, -1, -1)
                                 : _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1));
    const Vector first_half = shuffle_bytes(load_pixel_pairs(source, offsets), order);
    const Vector second_half = shuffle_bytes(load_pixel_pairs(source, offsets + 2), order);
    const Vector third_half = shuffle_bytes(load_pixel_pairs(source, offsets + 4), order);
    const Vector fourth_half = shuffle_bytes(load_pixel_pairs(source, offsets + 6), order);
    const Vector weights_low = load_weights(weights);
    const Vector weights_high = load_weights(weights + 4);

    const Vector planes_01_low = low_dwords(first_half, second_half);
    const Vector planes_01_high = low_dwords(third_half, fourth_half);
    const Vector plane_2_low = high_dwords(first_half, second_half);
    const Vector plane_2_high = high_dwords(third_half, fourth_half);
    store(plane_0, weigh(low_words(planes_01_low), weights_low), weigh(low_words(planes_01_high), weights_high));
    store(plane_1, weigh(high_words(planes_01_low), weights_low), weigh(high_words(planes_01_high), weights_high));
    store(plane_2, weigh(low_words(plane_2_low), weights_low), weigh(low_words(plane_2_high), weights_high));
}
#endif

#if defined(__SSE4_1__)
/// Four pixels of 4 bytes, sorted by channel: c0 c0 c0 c0 c1 c1 c1 c1 c2 c2 c2 c2, and what follows a pixel.
inline __m128i load_4_pixels(const std::uint8_t* source, const std::int32_t* offsets) {
    std::int32_t pixels[4];
    for (int i = 0; i < 4; ++i) std::memcpy(&pixels[i], source + offsets[i], sizeof(pixels[i]));
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm_shuffle_epi8(_mm_setr_epi32(pixels[0], pixels[1], pixels[2], pixels[3]), order);
}

/// 16 columns of three planes, from four times four of them, each sorted by channel.
inline void store_planes(__m128i columns_0, __m128i columns_4, __m128i columns_8, __m128i columns_12,
                         std::uint8_t* plane_0, std::uint8_t* plane_1, std::uint8_t* plane_2) {
    const __m128i planes_01_low = _mm_unpacklo_epi32(columns_0, columns_4);
    const __m128i planes_01_high = _mm_unpacklo_epi32(columns_8, columns_12);
    const __m128i plane_2_low = _mm_unpackhi_epi32(columns_0, columns_4);
    const __m128i plane_2_high = _mm_unpackhi_epi32(columns_8, columns_12);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(plane_0), _mm_unpacklo_epi64(planes_01_low, planes_01_high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(plane_1), _mm_unpackhi_epi64(planes_01_low, planes_01_high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(plane_2), _mm_unpacklo_epi64(plane_2_low, plane_2_high));
}

/// 16 columns of three planes, each column one source pixel.
inline void pick_group(const std::uint8_t* source, const std::int32_t* offsets, std::uint8_t* plane_0,
                       std::uint8_t* plane_1, std::uint8_t* plane_2) {
    const __m128i columns_0 = load_4_pixels(source, offsets);
    const __m128i columns_4 = load_4_pixels(source, offsets + 4);
    const __m128i columns_8 = load_4_pixels(source, offsets + 8);
    const __m128i columns_12 = load_4_pixels(source, offsets + 12);
    store_planes(columns_0, columns_4, columns_8, columns_12, plane_0, plane_1, plane_2);
}

/// The same where each column is every third source pixel, as in 1080p -> 640: 16 bytes hold two of them, and end no
/// later than the 8 bytes that may be read of the second.
template <int kChannels>
inline void pick_thirds(const std::uint8_t* source, std::uint8_t* plane_0, std::uint8_t* plane_1,
                        std::uint8_t* plane_2) {
    constexpr int kStep = 3 * kChannels;
    static_assert(kStep >= 8 && kStep + 2 < 16, "two pixels must lie in 16 bytes");
    // Brings the two together channel by channel: c0 c0' c1 c1' c2 c2'.
    const __m128i order = _mm_setr_epi8(0, kStep, 1, kStep + 1, 2, kStep + 2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const auto pair = [&](int index) {
        const std::uint8_t* first = source + 2 * index * kStep;
        return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first)), order);
    };
    const __m128i columns_0 = _mm_unpacklo_epi16(pair(0), pair(1));
    const __m128i columns_4 = _mm_unpacklo_epi16(pair(2), pair(3));
    const __m128i columns_8 = _mm_unpacklo_epi16(pair(4), pair(5));
    const __m128i columns_12 = _mm_unpacklo_epi16(pair(6), pair(7));
    store_planes(columns_0, columns_4, columns_8, columns_12, plane_0, plane_1, plane_2);
}
#endif

/// One source row to one horizontally resized row of 1 or 3 planes.
template <int kChannels>
void resize_columns(const DrawPlan& plan, const std::uint8_t* source, [[maybe_unused]] const std::uint8_t* ahead,
                    std::int16_t* target) {
    constexpr int kPlanes = kChannels == 1 ? 1 : 3;
    const std::int32_t* offsets = plan.column_offsets;
    const std::uint32_t* weights = plan.column_weights;
    const std::int64_t pitch = plan.scratch_pitch;
    std::int64_t column = 0;
#if defined(RFK_WIDE_COLUMNS)
    if constexpr (kPlanes == 3) {
        const std::int64_t wide = plan.wide_column_count;
        while (wide >= kGroup && column < wide) {
            // The last group overlaps the one before it: the same values once more, and no narrow loop.
            const std::int64_t start = column + kGroup <= wide ? column : wide - kGroup;
            prefetch(ahead, offsets[start], offsets[start + kGroup - 1]);
            resize_group<kChannels>(source, offsets + start, weights + start, target + start, target + pitch + start,
                                    target + 2 * pitch + start);
            column = start + kGroup;
        }
    }
#endif
    for (; column < plan.column_count; ++column) {
        const std::uint8_t* pixel = source + offsets[column];
        const int first_weight = static_cast<int>(weights[column] & 0xFFFFU);
        const int second_weight = static_cast<int>(weights[column] >> 16U);
        for (int plane = 0; plane < kPlanes; ++plane) {
            const int second = second_weight == 0 ? 0 : pixel[kChannels + plane];
            target[plane * pitch + column] = resize::horizontal(pixel[plane], second, first_weight, second_weight);
        }
    }
}

/// The source row's pixels that the columns are, where no column is a mixture of two: one finished row.
template <int kChannels>
void pick_columns(const DrawPlan& plan, const std::uint8_t* source, [[maybe_unused]] const std::uint8_t* ahead,
                  std::uint8_t* target) {
    constexpr int kPlanes = kChannels == 1 ? 1 : 3;
    const std::int32_t* offsets = plan.column_offsets;
    const std::int64_t pitch = plan.scratch_pitch;
    std::int64_t column = 0;
#if defined(__SSE4_1__)
    if constexpr (kPlanes == 3) {
        constexpr std::int64_t kColumns = 16;
        const std::int64_t wide = plan.wide_column_count;
        const bool picks_thirds = plan.column_step == 3 * kChannels;
        while (wide >= kColumns && column < wide) {
            const std::int64_t start = column + kColumns <= wide ? column : wide - kColumns;
            prefetch(ahead, offsets[start], offsets[start + kColumns - 1]);
            if (picks_thirds) {
                pick_thirds<kChannels>(source + offsets[start], target + start, target + pitch + start,
                                       target + 2 * pitch + start);
            } else {
                pick_group(source, offsets + start, target + start, target + pitch + start, target + 2 * pitch + start);
            }
            column = start + kColumns;
        }
    }
#endif
    for (; column < plan.column_count; ++column) {
        for (int plane = 0; plane < kPlanes; ++plane) {
            target[plane * pitch + column] = source[offsets[column] + plane];
        }
    }
}

void pick_columns_of_row(const DrawPlan& plan, std::int32_t row, std::int32_t next_row, std::uint8_t* target) {
    const std::uint8_t* source = plan.source + row * plan.row_pitch;
    const std::uint8_t* ahead = plan.source + next_row * plan.row_pitch;
    switch (plan.channels) {
        case 1:
            return pick_columns<1>(plan, source, ahead, target);
        case 3:
            return pick_columns<3>(plan, source, ahead, target);
        default:
            return pick_columns<4>(plan, source, ahead, target);
    }
}

void resize_columns_of_row(const DrawPlan& plan, std::int32_t row, std::int32_t next_row, std::int16_t* target) {
    const std::uint8_t* source = plan.source + row * plan.row_pitch;
    const std::uint8_t* ahead = plan.source + next_row * plan.row_pitch;
    switch (plan.channels) {
        case 1:
            return resize_columns<1>(plan, source, ahead, target);
        case 3:
            return resize_columns<3>(plan, source, ahead, target);
        default:
            return resize_columns<4>(plan, source, ahead, target);
    }
}

void mix_rows(const std::int16_t* __restrict first, const std::int16_t* __restrict second, std::int16_t first_weight,
              std::int16_t second_weight, std::uint8_t* __restrict target, std::int64_t count) {
    for (std::int64_t column = 0; column < count; ++column) {
        target[column] = resize::vertical(first[column], second[column], first_weight, second_weight);
    }
}

inline void put(float value, float* target) {
    *target = value;
}

/// As bfloat16: the upper half, rounded to nearest, ties to even. No NaN comes here.
inline void put(float value, std::uint16_t* target) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    *target = static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

template <bool kExactDivision, bool kDivides, typename Element>
void normalize(const std::uint8_t* __restrict source, const ChannelNormalization& constants, Element* __restrict target,
               std::int64_t count) {
    const ChannelNormalization local = constants;  // a copy, which no store to `target` can change
    for (std::int64_t i = 0; i < count; ++i) {
        const float value = static_cast<float>(source[i]);
        const float quotient = kExactDivision ? value / local.first : value * local.first + value * local.second;
        const float result = quotient + local.offset;
        put(kDivides ? result / local.divisor : result, target + i);
    }
}

/// float32 to float16 bits, to nearest, ties to even; for machines without an instruction for it. No NaN comes here.
inline std::uint16_t half_bits(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    // Below 2^-14 a half has a fixed step of 2^-24, which is the step of float32 at 0.5: the addition rounds.
    float subnormal = 0.0F;
    std::memcpy(&subnormal, &magnitude, sizeof(subnormal));
    subnormal += 0.5F;
    std::uint32_t subnormal_bits = 0;
    std::memcpy(&subnormal_bits, &subnormal, sizeof(subnormal_bits));
    // Elsewhere: exponent rebased from 127 to 15, half a step less one added, and one more where the kept bit is odd.
    const std::uint32_t rounded = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
    std::uint32_t half = magnitude < 0x38800000U ? subnormal_bits - 0x3F000000U : rounded;
    half = magnitude >= 0x47800000U ? 0x7C00U : half;
    return static_cast<std::uint16_t>(half | ((bits >> 16U) & 0x8000U));
}

template <typename Element>
void fill(Element* target, Element value, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) target[i] = value;
}

void halve(const float* source, std::uint16_t* target, std::int64_t count) {
    std::int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= count; i += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(target + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT));
    }
#endif
    for (; i < count; ++i) target[i] = half_bits(source[i]);
}

#if defined(__AVX512BW__)
#define RFK_WIDE_TABLES 1
constexpr std::int64_t kTableGroup = 32;

/// table[source[i]] for kTableGroup bytes or more. The table lies in eight registers. One instruction finds an entry
/// among the 64 of two of them; the upper two bits of the byte choose from the four answers.
void look_up_wide(const std::uint16_t* table, const std::uint8_t* source, std::uint16_t* target, std::int64_t count) {
    __m512i part[8];
    for (int i = 0; i < 8; ++i) part[i] = _mm512_loadu_si512(table + i * kTableGroup);
    const __m512i bit_6 = _mm512_set1_epi16(64);
    const __m512i bit_7 = _mm512_set1_epi16(128);
    for (std::int64_t i = 0; i < count; i += kTableGroup) {
        // The last group overlaps the one before it.
        const std::int64_t start = i + kTableGroup <= count ? i : count - kTableGroup;
        // (The unmasked form makes GCC 12 warn of an uninitialised value inside its own header.)
        const __m512i byte = _mm512_maskz_cvtepu8_epi16(
            0xFFFFFFFFU, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + start)));
        const __mmask32 is_odd_quarter = _mm512_test_epi16_mask(byte, bit_6);
        const __mmask32 is_upper_half = _mm512_test_epi16_mask(byte, bit_7);
        const __m512i lower = _mm512_mask_mov_epi16(_mm512_permutex2var_epi16(part[0], byte, part[1]), is_odd_quarter,
                                                    _mm512_permutex2var_epi16(part[2], byte, part[3]));
        const __m512i upper = _mm512_mask_mov_epi16(_mm512_permutex2var_epi16(part[4], byte, part[5]), is_odd_quarter,
                                                    _mm512_permutex2var_epi16(part[6], byte, part[7]));
        _mm512_storeu_si512(target + start, _mm512_mask_mov_epi16(lower, is_upper_half, upper));
    }
}
#endif

void look_up(const std::uint16_t* table, const std::uint8_t* source, std::uint16_t* target, std::int64_t count) {
#if defined(RFK_WIDE_TABLES)
    if (count >= kTableGroup) return look_up_wide(table, source, target, count);
#endif
    for (std::int64_t i = 0; i < count; ++i) target[i] = table[source[i]];
}

/// What draws finished rows and padding onto the canvas of a plan.
class Canvas {
  public:
    explicit Canvas(const DrawPlan& plan) : plan_(plan) {
        for (int channel = 0; channel < 3; ++channel) {
            normalize_row(&plan.pad_value, channel, &pad_values_[channel], 1);
            if (plan.dtype == DataType::kBfloat16) {
                put(pad_values_[channel], &pad_halves_[channel]);
            } else {
                pad_halves_[channel] = half_bits(pad_values_[channel]);
            }
            if (looks_up()) fill_table(channel);
        }
    }

    void draw_row(std::int64_t row) const {
        const std::int64_t right = plan_.left + plan_.column_count;
        for (int channel = 0; channel < 3; ++channel) {
            const int plane = plan_.channels == 1 ? 0 : plan_.source_channel[channel];
            pad(channel, row, 0, plan_.left);
            convert(plan_.finished_row + plane * plan_.scratch_pitch, channel, at(channel, row, plan_.left));
            pad(channel, row, right, plan_.canvas_width - right);
        }
    }

    void pad_rows(std::int64_t begin, std::int64_t end) const {
        for (int channel = 0; channel < 3; ++channel) {
            for (std::int64_t row = begin; row < end; ++row) pad(channel, row, 0, plan_.canvas_width);
        }
    }

  private:
    void* at(int channel, std::int64_t row, std::int64_t column) const {
        const std::int64_t element = plan_.dtype == DataType::kUint8 ? 1 : plan_.dtype == DataType::kFloat32 ? 4 : 2;
        return static_cast<unsigned char*>(plan_.destination) + channel * plan_.plane_stride + row * plan_.row_stride +
               column * element;
    }

    void pad(int channel, std::int64_t row, std::int64_t column, std::int64_t count) const {
        if (count <= 0 || plan_.keep_padding) return;
        void* target = at(channel, row, column);
        if (plan_.dtype == DataType::kUint8) {
            std::memset(target, plan_.pad_value, static_cast<std::size_t>(count));
        } else if (plan_.dtype == DataType::kFloat32) {
            fill(static_cast<float*>(target), pad_values_[channel], count);
        } else {
            fill(static_cast<std::uint16_t*>(target), pad_halves_[channel], count);
        }
    }

    void convert(const std::uint8_t* source, int channel, void* target) const {
        const std::int64_t count = plan_.column_count;
        if (plan_.dtype == DataType::kUint8) {
            std::memcpy(target, source, static_cast<std::size_t>(count));
        } else if (plan_.dtype == DataType::kFloat32) {
            normalize_row(source, channel, static_cast<float*>(target), count);
        } else if (looks_up()) {
            look_up(tables_[channel], source, static_cast<std::uint16_t*>(target), count);
        } else {
            to_two_bytes(source, channel, static_cast<std::uint16_t*>(target), count);
        }
    }

    /// Whether a table of what each byte becomes is quicker than computing it.
    bool looks_up() const {
#if defined(RFK_WIDE_TABLES)
        return plan_.dtype == DataType::kBfloat16 || plan_.dtype == DataType::kFloat16;
#elif defined(__F16C__)
        return false;
#else
        return plan_.dtype == DataType::kFloat16;
#endif
    }

    void fill_table(int channel) {
        std::uint8_t every_byte[256];
        for (int byte = 0; byte < 256; ++byte) every_byte[byte] = static_cast<std::uint8_t>(byte);
        to_two_bytes(every_byte, channel, tables_[channel], 256);
    }

    /// To the bits of float16 or bfloat16.
    void to_two_bytes(const std::uint8_t* source, int channel, std::uint16_t* target, std::int64_t count) const {
        if (plan_.dtype == DataType::kBfloat16) return normalize_row(source, channel, target, count);
        constexpr std::int64_t kChunk = 256;
        float values[kChunk];
        for (std::int64_t begin = 0; begin < count; begin += kChunk) {
            const std::int64_t size = count - begin < kChunk ? count - begin : kChunk;
            normalize_row(source + begin, channel, values, size);
            halve(values, target + begin, size);
        }
    }

    /// To float32, or to the bits of bfloat16.
    template <typename Element>
    void normalize_row(const std::uint8_t* source, int channel, Element* target, std::int64_t count) const {
        const ChannelNormalization& constants = plan_.normalization[channel];
        if (plan_.exact_division) {
            return plan_.divides ? normalize<true, true>(source, constants, target, count)
                                 : normalize<true, false>(source, constants, target, count);
        }
        return plan_.divides ? normalize<false, true>(source, constants, target, count)
                             : normalize<false, false>(source, constants, target, count);
    }

    const DrawPlan& plan_;
    float pad_values_[3];
    std::uint16_t pad_halves_[3];
    std::uint16_t tables_[3][256];  // where `looks_up`
};

/// `row` of the resized image into plan.finished_row. `held` are the source rows that lie in plan.resized_rows.
void resize_row(const DrawPlan& plan, std::int64_t row, std::int32_t (&held)[2]) {
    const std::int32_t wanted[2] = {plan.row_indices[2 * row], plan.row_indices[2 * row + 1]};
    const std::int64_t later = row + kRowsAhead;
    const std::int32_t* next = later < plan.row_count ? plan.row_indices + 2 * later : wanted;
    const std::int16_t* weights = plan.row_weights + 2 * row;
    if (plan.picks_columns && (weights[0] == 0 || weights[1] == 0)) {
        return pick_columns_of_row(plan, wanted[0], next[0], plan.finished_row);
    }
    int slot[2];
    for (int tap = 0; tap < 2; ++tap) {
        slot[tap] = held[0] == wanted[tap] ? 0 : held[1] == wanted[tap] ? 1 : -1;
        if (slot[tap] >= 0) continue;
        // Overwrite the row that the other tap does not need.
        slot[tap] = held[0] == wanted[1 - tap] ? 1 : 0;
        resize_columns_of_row(plan, wanted[tap], next[tap], plan.resized_rows[slot[tap]]);
        held[slot[tap]] = wanted[tap];
    }
    const int planes = plan.channels == 1 ? 1 : 3;
    for (int plane = 0; plane < planes; ++plane) {
        const std::int64_t start = plane * plan.scratch_pitch;
        mix_rows(plan.resized_rows[slot[0]] + start, plan.resized_rows[slot[1]] + start, weights[0], weights[1],
                 plan.finished_row + start, plan.column_count);
    }
}

}  // namespace

void draw_image(const DrawPlan& plan) {
    const Canvas canvas(plan);
    canvas.pad_rows(0, plan.top);
    std::int32_t held[2] = {-1, -1};
    for (std::int64_t row = 0; row < plan.row_count; ++row) {
        resize_row(plan, row, held);
        canvas.draw_row(plan.top + row);
    }
    canvas.pad_rows(plan.top + plan.row_count, plan.canvas_height);
}

}  // namespace rfkernels::RFK_VARIANT
