// Compiled once for each instruction set. A destination row is made in three steps that stay in the first-level cache:
// source rows -> two horizontally resized rows (int16, planar) -> one finished row (uint8, planar) -> destination.

#include "ops/preprocess/preprocess_kernels.h"

#include <cstring>

#include "ops/preprocess/resize_arithmetic.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace rfkernels::RFK_VARIANT {
namespace {

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
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + kUpperLane)), 1);
}
inline Vector broadcast(__m128i lane) { return _mm256_broadcastsi128_si256(lane); }
inline Vector shuffle_bytes(Vector bytes, Vector order) { return _mm256_shuffle_epi8(bytes, order); }
inline Vector low_dwords(Vector a, Vector b) { return _mm256_unpacklo_epi32(a, b); }
inline Vector high_dwords(Vector a, Vector b) { return _mm256_unpackhi_epi32(a, b); }
inline Vector low_words(Vector bytes) { return _mm256_unpacklo_epi8(bytes, _mm256_setzero_si256()); }
inline Vector high_words(Vector bytes) { return _mm256_unpackhi_epi8(bytes, _mm256_setzero_si256()); }
inline Vector weigh(Vector pairs, Vector weights) { return _mm256_srai_epi32(_mm256_madd_epi16(pairs, weights), 4); }
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
inline Vector broadcast(__m128i lane) { return lane; }
inline Vector shuffle_bytes(Vector bytes, Vector order) { return _mm_shuffle_epi8(bytes, order); }
inline Vector low_dwords(Vector a, Vector b) { return _mm_unpacklo_epi32(a, b); }
inline Vector high_dwords(Vector a, Vector b) { return _mm_unpackhi_epi32(a, b); }
inline Vector low_words(Vector bytes) { return _mm_unpacklo_epi8(bytes, _mm_setzero_si128()); }
inline Vector high_words(Vector bytes) { return _mm_unpackhi_epi8(bytes, _mm_setzero_si128()); }
inline Vector weigh(Vector pairs, Vector weights) { return _mm_srai_epi32(_mm_madd_epi16(pairs, weights), 4); }
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

/// One source row to one horizontally resized row of 1 or 3 planes.
template <int kChannels>
void resize_columns(const DrawPlan& plan, const std::uint8_t* source, std::int16_t* target) {
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

void resize_columns_of_row(const DrawPlan& plan, std::int32_t row, std::int16_t* target) {
    const std::uint8_t* source = plan.source + row * plan.row_pitch;
    switch (plan.channels) {
        case 1:
            return resize_columns<1>(plan, source, target);
        case 3:
            return resize_columns<3>(plan, source, target);
        default:
            return resize_columns<4>(plan, source, target);
    }
}

void resize_rows(const std::int16_t* __restrict first, const std::int16_t* __restrict second, std::int16_t first_weight,
                 std::int16_t second_weight, std::uint8_t* __restrict target, std::int64_t count) {
    for (std::int64_t column = 0; column < count; ++column) {
        target[column] = resize::vertical(first[column], second[column], first_weight, second_weight);
    }
}

template <bool kExactDivision, bool kDivides>
inline float normalize(std::uint8_t byte, const ChannelNormalization& constants) {
    const float value = static_cast<float>(byte);
    float result = kExactDivision ? value / constants.first : value * constants.first + value * constants.second;
    result = result + constants.offset;
    return kDivides ? result / constants.divisor : result;
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

template <bool kExactDivision, bool kDivides>
void convert_to_float32(const std::uint8_t* __restrict source, const ChannelNormalization& constants,
                        float* __restrict target, std::int64_t count) {
    const ChannelNormalization local = constants;
    for (std::int64_t column = 0; column < count; ++column) {
        target[column] = normalize<kExactDivision, kDivides>(source[column], local);
    }
}

template <bool kExactDivision, bool kDivides>
void convert_to_float16(const std::uint8_t* __restrict source, const ChannelNormalization& constants,
                        std::uint16_t* __restrict target, std::int64_t count) {
    const ChannelNormalization local = constants;
    std::int64_t column = 0;
#if defined(__F16C__)
    constexpr std::int64_t kStep = 16;
    float values[kStep];
    for (; column + kStep <= count; column += kStep) {
        for (std::int64_t i = 0; i < kStep; ++i) {
            values[i] = normalize<kExactDivision, kDivides>(source[column + i], local);
        }
        for (std::int64_t i = 0; i < kStep; i += 8) {
            const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(target + column + i), halves);
        }
    }
#endif
    for (; column < count; ++column) {
        target[column] = half_bits(normalize<kExactDivision, kDivides>(source[column], local));
    }
}

template <bool kExactDivision, bool kDivides>
void convert(const std::uint8_t* source, const ChannelNormalization& constants, DataType dtype, void* target,
             std::int64_t count) {
    switch (dtype) {
        case DataType::kUint8:
            std::memcpy(target, source, static_cast<std::size_t>(count));
            return;
        case DataType::kFloat16:
            return convert_to_float16<kExactDivision, kDivides>(source, constants, static_cast<std::uint16_t*>(target),
                                                                count);
        default:
            return convert_to_float32<kExactDivision, kDivides>(source, constants, static_cast<float*>(target), count);
    }
}

void convert_row(const DrawPlan& plan, const std::uint8_t* source, int channel, void* target, std::int64_t count) {
    const ChannelNormalization& constants = plan.normalization[channel];
    if (plan.exact_division) {
        return plan.divides ? convert<true, true>(source, constants, plan.dtype, target, count)
                            : convert<true, false>(source, constants, plan.dtype, target, count);
    }
    return plan.divides ? convert<false, true>(source, constants, plan.dtype, target, count)
                        : convert<false, false>(source, constants, plan.dtype, target, count);
}

template <typename Element>
void fill(void* target, Element value, std::int64_t count) {
    Element* elements = static_cast<Element*>(target);
    for (std::int64_t i = 0; i < count; ++i) elements[i] = value;
}

/// `count` pad values from `target` on.
void pad(const DrawPlan& plan, int channel, unsigned char* target, std::int64_t count) {
    if (count <= 0) return;
    unsigned char value[sizeof(float)];
    convert_row(plan, &plan.pad_value, channel, value, 1);
    if (plan.dtype == DataType::kUint8) {
        std::memset(target, value[0], static_cast<std::size_t>(count));
    } else if (plan.dtype == DataType::kFloat16) {
        std::uint16_t half = 0;
        std::memcpy(&half, value, sizeof(half));
        fill(target, half, count);
    } else {
        float single = 0.0F;
        std::memcpy(&single, value, sizeof(single));
        fill(target, single, count);
    }
}

std::int64_t size_of(DataType dtype) {
    return dtype == DataType::kUint8 ? 1 : dtype == DataType::kFloat16 ? 2 : 4;
}

void pad_rows(const DrawPlan& plan, std::int64_t begin, std::int64_t end) {
    for (int channel = 0; channel < 3; ++channel) {
        unsigned char* plane = static_cast<unsigned char*>(plan.destination) + channel * plan.plane_stride;
        for (std::int64_t row = begin; row < end; ++row) {
            pad(plan, channel, plane + row * plan.row_stride, plan.canvas_width);
        }
    }
}

}  // namespace

void draw_image(const DrawPlan& plan) {
    const int planes = plan.channels == 1 ? 1 : 3;
    const std::int64_t element = size_of(plan.dtype);
    pad_rows(plan, 0, plan.top);
    std::int32_t held[2] = {-1, -1};  // the source row in each of plan.resized_rows
    for (std::int64_t row = 0; row < plan.row_count; ++row) {
        const std::int32_t wanted[2] = {plan.row_indices[2 * row], plan.row_indices[2 * row + 1]};
        int slot[2];
        for (int tap = 0; tap < 2; ++tap) {
            slot[tap] = held[0] == wanted[tap] ? 0 : held[1] == wanted[tap] ? 1 : -1;
            if (slot[tap] >= 0) continue;
            // Overwrite the row that the other tap does not need.
            slot[tap] = held[0] == wanted[1 - tap] ? 1 : 0;
            resize_columns_of_row(plan, wanted[tap], plan.resized_rows[slot[tap]]);
            held[slot[tap]] = wanted[tap];
        }
        for (int plane = 0; plane < planes; ++plane) {
            resize_rows(plan.resized_rows[slot[0]] + plane * plan.scratch_pitch,
                        plan.resized_rows[slot[1]] + plane * plan.scratch_pitch, plan.row_weights[2 * row],
                        plan.row_weights[2 * row + 1], plan.finished_row + plane * plan.scratch_pitch,
                        plan.column_count);
        }
        for (int channel = 0; channel < 3; ++channel) {
            unsigned char* target = static_cast<unsigned char*>(plan.destination) + channel * plan.plane_stride +
                                    (plan.top + row) * plan.row_stride;
            const std::uint8_t* finished =
                plan.finished_row + (planes == 1 ? 0 : plan.source_channel[channel]) * plan.scratch_pitch;
            pad(plan, channel, target, plan.left);
            convert_row(plan, finished, channel, target + plan.left * element, plan.column_count);
            const std::int64_t right = plan.left + plan.column_count;
            pad(plan, channel, target + right * element, plan.canvas_width - right);
        }
    }
    pad_rows(plan, plan.top + plan.row_count, plan.canvas_height);
}

}  // namespace rfkernels::RFK_VARIANT
