// Compiled once for each instruction set. Several source rows at a time have their columns resized into bytes, 4 of a
// pixel, and are held as long as a window needs them; a destination row is the weighted sum of those that are held.
// Nothing else of the image is made or read.
//
// A weight has 22 bits and a pixel 8: too many for the multiplication of 16-bit pairs, which is the quick one. So the
// lower 15 bits and the upper ones are multiplied apart, and their sums brought together at the end. The lower sum may
// wrap around before that, and the total, which fits 31 bits, is right all the same.

#include <cstring>

#include "ops/preprocess/canvas_kernels.h"
#include "ops/preprocess/nv12_kernels.h"
#include "ops/preprocess/preprocess_kernels.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace rfkernels::RFK_VARIANT {
namespace {

constexpr int kWeightBits = 22;
constexpr int kLowBits = 15;
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
constexpr std::int64_t kPixel = 4;  // bytes of a pixel whose column is resized
constexpr std::int64_t kGroup = 4;  // columns stored at a time

// A lane of a vector is a row: it holds 16 bytes of the source, or the three sums of a pixel.
#if defined(__AVX512BW__)
constexpr std::int64_t kRows = 4;
using Vector = __m512i;

inline Vector load_rows(const std::uint8_t* const (&rows)[kRows], std::int64_t offset) {
    const auto row = [&](int index) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[index] + offset)); };
    const __m256i first = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
    const __m256i second = _mm256_inserti128_si256(_mm256_castsi128_si256(row(2)), row(3), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}
inline void store_rows(Vector columns, std::uint8_t* target, std::int64_t pitch) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm512_castsi512_si128(columns));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + pitch), _mm512_extracti32x4_epi32(columns, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 2 * pitch), _mm512_extracti32x4_epi32(columns, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 3 * pitch), _mm512_extracti32x4_epi32(columns, 3));
}
inline Vector in_every_lane(__m128i lane) {
    return _mm512_broadcast_i32x4(lane);
}
inline Vector every_dword(std::int32_t value) {
    return _mm512_set1_epi32(value);
}
inline Vector shuffle_bytes(Vector bytes, Vector order) {
    return _mm512_shuffle_epi8(bytes, order);
}
inline Vector multiply_pairs(Vector pixels, Vector weights) {
    return _mm512_madd_epi16(pixels, weights);
}
inline Vector add(Vector a, Vector b) {
    return _mm512_add_epi32(a, b);
}
inline Vector total(Vector low, Vector high) {
    return _mm512_srli_epi32(_mm512_add_epi32(low, _mm512_slli_epi32(high, kLowBits)), kWeightBits);
}
inline Vector to_bytes(Vector first, Vector second, Vector third, Vector fourth) {
    return _mm512_packus_epi16(_mm512_packs_epi32(first, second), _mm512_packs_epi32(third, fourth));
}
#elif defined(__AVX2__)
constexpr std::int64_t kRows = 2;
using Vector = __m256i;

inline Vector load_rows(const std::uint8_t* const (&rows)[kRows], std::int64_t offset) {
    const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[0] + offset));
    const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[1] + offset));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}
inline void store_rows(Vector columns, std::uint8_t* target, std::int64_t pitch) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm256_castsi256_si128(columns));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + pitch), _mm256_extracti128_si256(columns, 1));
}
inline Vector in_every_lane(__m128i lane) {
    return _mm256_broadcastsi128_si256(lane);
}
inline Vector every_dword(std::int32_t value) {
    return _mm256_set1_epi32(value);
}
inline Vector shuffle_bytes(Vector bytes, Vector order) {
    return _mm256_shuffle_epi8(bytes, order);
}
inline Vector multiply_pairs(Vector pixels, Vector weights) {
    return _mm256_madd_epi16(pixels, weights);
}
inline Vector add(Vector a, Vector b) {
    return _mm256_add_epi32(a, b);
}
inline Vector total(Vector low, Vector high) {
    return _mm256_srli_epi32(_mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits)), kWeightBits);
}
inline Vector to_bytes(Vector first, Vector second, Vector third, Vector fourth) {
    return _mm256_packus_epi16(_mm256_packs_epi32(first, second), _mm256_packs_epi32(third, fourth));
}
#elif defined(__SSE4_1__)
constexpr std::int64_t kRows = 1;
using Vector = __m128i;

inline Vector load_rows(const std::uint8_t* const (&rows)[kRows], std::int64_t offset) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[0] + offset));
}
inline void store_rows(Vector columns, std::uint8_t* target, std::int64_t) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), columns);
}
inline Vector in_every_lane(__m128i lane) {
    return lane;
}
inline Vector every_dword(std::int32_t value) {
    return _mm_set1_epi32(value);
}
inline Vector shuffle_bytes(Vector bytes, Vector order) {
    return _mm_shuffle_epi8(bytes, order);
}
inline Vector multiply_pairs(Vector pixels, Vector weights) {
    return _mm_madd_epi16(pixels, weights);
}
inline Vector add(Vector a, Vector b) {
    return _mm_add_epi32(a, b);
}
inline Vector total(Vector low, Vector high) {
    return _mm_srli_epi32(_mm_add_epi32(low, _mm_slli_epi32(high, kLowBits)), kWeightBits);
}
inline Vector to_bytes(Vector first, Vector second, Vector third, Vector fourth) {
    return _mm_packus_epi16(_mm_packs_epi32(first, second), _mm_packs_epi32(third, fourth));
}
#else
constexpr std::int64_t kRows = 1;
#endif
static_assert(kMostRowsTogether % kRows == 0, "held rows are made in whole steps");

inline std::uint8_t byte_of(std::int32_t sum) {
    const std::int32_t value = sum >> kWeightBits;
    return static_cast<std::uint8_t>(value > 255 ? 255 : value);
}

/// A column of one row, pixel by pixel; what has no weight is not read.
template <int kChannels>
void resize_column(const std::uint8_t* source, const std::int16_t* weights, std::int64_t pairs, std::uint8_t* target) {
    constexpr int kPlanes = kChannels == 1 ? 1 : 3;
    std::int32_t sums[kPlanes];
    for (std::int32_t& sum : sums) sum = kHalf;
    for (std::int64_t tap = 0; tap < 2 * pairs; ++tap, source += kChannels) {
        const std::int16_t* pair = weights + tap / 2 * 4;
        const std::int32_t weight = pair[tap % 2] + pair[2 + tap % 2] * (1 << kLowBits);
        if (weight == 0) continue;
        for (int plane = 0; plane < kPlanes; ++plane) sums[plane] += source[plane] * weight;
    }
    for (int plane = 0; plane < kPlanes; ++plane) target[plane] = byte_of(sums[plane]);
    for (int plane = kPlanes; plane < kPixel; ++plane) target[plane] = 0;
}

#if defined(__SSE4_1__)
/// Brings a pair of pixels together channel by channel, as 16-bit numbers: c0 c0' c1 c1' c2 c2' 0 0. A grey pair is
/// c0 c0' and nothing else.
template <int kChannels>
inline __m128i order_of_pairs() {
    constexpr char kNone = -128;
    constexpr char kNext = kChannels;
    if constexpr (kChannels == 1) {
        return _mm_setr_epi8(0, kNone, kNext, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone,
                             kNone, kNone, kNone);
    }
    return _mm_setr_epi8(0, kNone, kNext, kNone, 1, kNone, kNext + 1, kNone, 2, kNone, kNext + 2, kNone, kNone, kNone,
                         kNone, kNone);
}

inline Vector load_weights(const std::int16_t* weights) {
    std::int32_t pair = 0;
    std::memcpy(&pair, weights, sizeof(pair));
    return every_dword(pair);
}

/// kGroup columns of kRows rows. Their windows have the same number of pairs, and their sums do not wait for each
/// other.
template <int kChannels>
inline Vector resize_group(const std::uint8_t* const (&rows)[kRows], const std::int32_t* offsets,
                           const std::int16_t* weights, std::int64_t pairs) {
    const __m128i order = order_of_pairs<kChannels>();
    const Vector first_pair = in_every_lane(order);
    const Vector second_pair = in_every_lane(_mm_add_epi8(order, _mm_set1_epi8(2 * kChannels)));
    Vector low[kGroup];
    Vector high[kGroup];
    for (int i = 0; i < kGroup; ++i) {
        low[i] = every_dword(kHalf);
        high[i] = every_dword(0);
    }
    std::int64_t pair = 0;
    for (; pair + 1 < pairs; pair += 2) {
        for (int i = 0; i < kGroup; ++i) {
            const Vector bytes = load_rows(rows, offsets[i] + 2 * kChannels * pair);
            const Vector first = shuffle_bytes(bytes, first_pair);
            const Vector second = shuffle_bytes(bytes, second_pair);
            const std::int16_t* parts = weights + 4 * (pairs * i + pair);
            low[i] = add(low[i], multiply_pairs(first, load_weights(parts)));
            high[i] = add(high[i], multiply_pairs(first, load_weights(parts + 2)));
            low[i] = add(low[i], multiply_pairs(second, load_weights(parts + 4)));
            high[i] = add(high[i], multiply_pairs(second, load_weights(parts + 6)));
        }
    }
    if (pair < pairs) {
        for (int i = 0; i < kGroup; ++i) {
            const Vector first = shuffle_bytes(load_rows(rows, offsets[i] + 2 * kChannels * pair), first_pair);
            const std::int16_t* parts = weights + 4 * (pairs * i + pair);
            low[i] = add(low[i], multiply_pairs(first, load_weights(parts)));
            high[i] = add(high[i], multiply_pairs(first, load_weights(parts + 2)));
        }
    }
    return to_bytes(total(low[0], high[0]), total(low[1], high[1]), total(low[2], high[2]), total(low[3], high[3]));
}
#endif

/// kRows source rows to rows of `target` that lie `pitch` bytes apart.
template <int kChannels>
void resize_columns(const DrawPlan& plan, const AntialiasedPlan& taps, const std::uint8_t* const (&rows)[kRows],
                    std::uint8_t* target, std::int64_t pitch) {
    const std::int64_t pairs = taps.column_pairs;
    std::int64_t column = 0;
#if defined(__SSE4_1__)
    const std::int64_t wide = taps.wide_column_count;
    while (wide >= kGroup && column < wide) {
        // The last group overlaps the one before it.
        const std::int64_t start = column + kGroup <= wide ? column : wide - kGroup;
        const Vector columns =
            resize_group<kChannels>(rows, taps.column_offsets + start, taps.column_weights + 4 * pairs * start, pairs);
        store_rows(columns, target + kPixel * start, pitch);
        column = start + kGroup;
    }
#endif
    for (; column < plan.column_count; ++column) {
        for (std::int64_t row = 0; row < kRows; ++row) {
            resize_column<kChannels>(rows[row] + taps.column_offsets[column], taps.column_weights + 4 * pairs * column,
                                     pairs, target + row * pitch + kPixel * column);
        }
    }
}

/// The source rows [first, end) that are held.
struct Held {
    std::int64_t first = 0;
    std::int64_t end = 0;
};

std::uint8_t* held_row(const DrawPlan& plan, const AntialiasedPlan& taps, std::int64_t row) {
    return taps.held_rows + row % taps.held_row_count * plan.scratch_pitch * kPixel;
}

/// The row that stands where `row` does when rows are made next.
std::int64_t next_row(const AntialiasedPlan& taps, std::int64_t row) {
    return row + kRows <= taps.last_row ? row + kRows : taps.last_row;
}

/// Makes and holds the source rows from held->end on, kRows of them.
void make_rows(const DrawPlan& plan, const AntialiasedPlan& taps, Held* held) {
    const std::uint8_t* rows[kRows];
    for (std::int64_t index = 0; index < kRows; ++index) {
        // In place of rows that nothing needs, others.
        std::int64_t row = held->end + index;
        row = row < taps.first_row ? taps.first_row : row > taps.last_row ? taps.last_row : row;
        rows[index] = plan.nv12 == nullptr ? plan.source + row * plan.row_pitch
                                           : convert_row(*plan.nv12, row, next_row(taps, row), index);
    }
    std::uint8_t* target = held_row(plan, taps, held->end);
    const std::int64_t pitch = plan.scratch_pitch * kPixel;
    if (plan.channels == 1) {
        resize_columns<1>(plan, taps, rows, target, pitch);
    } else if (plan.channels == 3) {
        resize_columns<3>(plan, taps, rows, target, pitch);
    } else {
        resize_columns<4>(plan, taps, rows, target, pitch);
    }
    held->end += kRows;
    if (held->end - held->first > taps.held_row_count) held->first = held->end - taps.held_row_count;
}

/// Sees to it that rows [begin, end) are held.
void hold_rows(const DrawPlan& plan, const AntialiasedPlan& taps, std::int64_t begin, std::int64_t end, Held* held) {
    if (begin < held->first || begin > held->end) held->first = held->end = begin / kRows * kRows;
    while (held->end < end) make_rows(plan, taps, held);
}

void add_rows(const std::uint8_t* const (&rows)[4], const std::int32_t (&weights)[4], std::int32_t* __restrict sums,
              std::int64_t count) {
    const std::uint8_t* __restrict row_0 = rows[0];
    const std::uint8_t* __restrict row_1 = rows[1];
    const std::uint8_t* __restrict row_2 = rows[2];
    const std::uint8_t* __restrict row_3 = rows[3];
    const std::int32_t weight_0 = weights[0];
    const std::int32_t weight_1 = weights[1];
    const std::int32_t weight_2 = weights[2];
    const std::int32_t weight_3 = weights[3];
    for (std::int64_t i = 0; i < count; ++i) {
        sums[i] += row_0[i] * weight_0 + row_1[i] * weight_1 + row_2[i] * weight_2 + row_3[i] * weight_3;
    }
}

/// Sums of pixels to the planes of plan.finished_row.
void finish_row(const DrawPlan& plan, const std::int32_t* sums) {
    std::uint8_t* planes[3];
    for (int plane = 0; plane < 3; ++plane) planes[plane] = plan.finished_row + plane * plan.scratch_pitch;
    std::int64_t column = 0;
#if defined(__SSE4_1__)
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (; column + 4 <= plan.column_count; column += 4) {
        const auto pixel = [&](std::int64_t index) {
            const std::int32_t* channels = sums + kPixel * (column + index);
            return _mm_srli_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(channels)), kWeightBits);
        };
        const __m128i words_0 = _mm_packs_epi32(pixel(0), pixel(1));
        const __m128i words_2 = _mm_packs_epi32(pixel(2), pixel(3));
        const __m128i by_plane = _mm_shuffle_epi8(_mm_packus_epi16(words_0, words_2), order);
        const std::int32_t columns[3] = {_mm_extract_epi32(by_plane, 0), _mm_extract_epi32(by_plane, 1),
                                         _mm_extract_epi32(by_plane, 2)};
        for (int plane = 0; plane < 3; ++plane) std::memcpy(planes[plane] + column, &columns[plane], 4);
    }
#endif
    for (; column < plan.column_count; ++column) {
        for (int plane = 0; plane < 3; ++plane) planes[plane][column] = byte_of(sums[kPixel * column + plane]);
    }
}

/// `row` of the resized image into plan.finished_row.
void resize_row(const DrawPlan& plan, const AntialiasedPlan& taps, std::int64_t row, Held* held) {
    const std::int64_t count = kPixel * plan.column_count;
    for (std::int64_t i = 0; i < count; ++i) taps.sums[i] = kHalf;
    const std::int64_t first = taps.row_firsts[row];
    const std::int64_t end = first + taps.row_counts[row];
    const std::int32_t* row_weights = taps.row_weights + taps.row_taps * row;
    for (std::int64_t begin = first; begin < end; begin += taps.rows_at_once) {
        const std::int64_t part_end = begin + taps.rows_at_once < end ? begin + taps.rows_at_once : end;
        hold_rows(plan, taps, begin, part_end, held);
        for (std::int64_t next = begin; next < part_end; next += 4) {
            const std::uint8_t* rows[4];
            std::int32_t weights[4];
            for (std::int64_t index = 0; index < 4; ++index) {
                const bool is_part = next + index < part_end;
                rows[index] = held_row(plan, taps, is_part ? next + index : next);
                weights[index] = is_part ? row_weights[next + index - first] : 0;
            }
            add_rows(rows, weights, taps.sums, count);
        }
    }
    finish_row(plan, taps.sums);
}

}  // namespace

void draw_image_antialiased(const DrawPlan& plan, const AntialiasedPlan& taps) {
    const Canvas canvas(plan);
    canvas.pad_rows(0, plan.top);
    Held held;
    for (std::int64_t row = 0; row < plan.row_count; ++row) {
        resize_row(plan, taps, row, &held);
        canvas.draw_row(plan.top + row);
    }
    canvas.pad_rows(plan.top + plan.row_count, plan.canvas_height);
}

}  // namespace rfkernels::RFK_VARIANT
