// Compiled once for each instruction set. A destination row is made in three steps that stay in the first-level cache:
// source rows -> two horizontally resized rows (int16, planar) -> one finished row (uint8, planar) -> destination.
// Where all weights are 1 or 0 (no resize, 1080p -> 640, any odd whole scale) the finished row is picked from the
// source.

#include "ops/preprocess/preprocess_kernels.h"

#include <cstring>

#include "ops/preprocess/canvas_kernels.h"
#include "ops/preprocess/nv12_kernels.h"
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

/// A source row, and the one that will be needed soon; of an NV12 image the first is made here, and the second is asked
/// for meanwhile.
struct SourceRow {
    const std::uint8_t* pixels;
    const std::uint8_t* ahead;
};

SourceRow source_row(const DrawPlan& plan, std::int32_t row, std::int32_t next_row) {
    if (plan.nv12 == nullptr) return {plan.source + row * plan.row_pitch, plan.source + next_row * plan.row_pitch};
    const std::uint8_t* pixels = convert_row(*plan.nv12, row, next_row, 0);
    return {pixels, pixels};
}

void pick_columns_of_row(const DrawPlan& plan, std::int32_t row, std::int32_t next_row, std::uint8_t* target) {
    if (plan.nv12 != nullptr && plan.nv12->columns != nullptr) {
        return convert_row_to_planes(*plan.nv12, row, next_row, target, plan.scratch_pitch);
    }
    const auto [source, ahead] = source_row(plan, row, next_row);
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
    const auto [source, ahead] = source_row(plan, row, next_row);
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
