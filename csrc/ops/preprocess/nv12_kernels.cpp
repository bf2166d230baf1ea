// Compiled once for each instruction set. A row of luma and the row of chroma beside it become pixels in a buffer that
// stays in the first-level cache; the picture as a whole is never there. Loops are written for the compiler's vectors:
// 32-bit sums, no branches. For pixels that lie side by side there is a quicker way with AVX2.

#include "ops/preprocess/nv12_kernels.h"

#include <cstring>

#include "ops/preprocess/nv12_arithmetic.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace rfkernels::RFK_VARIANT {
namespace {

struct Planes {
    const std::uint8_t* luma;
    const std::uint8_t* chroma;
};

/// From the image's left edge.
Planes row_of(const Nv12Plan& plan, std::int64_t row) {
    return Planes{plan.luma + row * plan.luma_pitch, plan.chroma + (row + plan.odd_top) / 2 * plan.chroma_pitch};
}

/// Into the second cache, as the packed rows of preprocess_kernels.cpp. (Inlined by force: see there.)
__attribute__((always_inline)) inline void prefetch(const Nv12Plan& plan, std::int64_t row) {
    const Planes planes = row_of(plan, row);
    for (std::int64_t column = plan.first_column; column < plan.end_column; column += 64) {
        __builtin_prefetch(planes.luma + column, 0, 2);
        __builtin_prefetch(planes.chroma + column, 0, 2);
    }
}

#if defined(__AVX2__)
#define RFK_CONVERTS_GROUPS 1
constexpr std::int64_t kGroup = 16;

/// A channel of 16 pixels as 16-bit numbers, not yet cut to bytes. Luma comes in even and odd pixels: both add the same
/// chroma, and the upper halves of their sums, of which the last four bits are fraction, lie side by side again.
inline __m256i channel_words(__m256i even_luma, __m256i odd_luma, __m256i chroma) {
    const __m256i even = _mm256_srli_epi32(_mm256_add_epi32(even_luma, chroma), 16);
    const __m256i odd = _mm256_add_epi32(odd_luma, chroma);
    return _mm256_srai_epi16(_mm256_blend_epi16(even, odd, 0xAA), nv12::kFractionBits - 16);
}

inline __m256i times(__m256i numbers, std::int32_t factor) {
    return _mm256_mullo_epi32(numbers, _mm256_set1_epi32(factor));
}

/// nv12::pixel of kGroup pixels. What is taken off u and v, and half a step, are one number for each channel.
inline void convert_group(const std::uint8_t* luma, const std::uint8_t* chroma, std::uint32_t* pixels) {
    const __m256i low_byte = _mm256_set1_epi32(0xFF);
    const __m128i above_black = _mm_subs_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(luma)),
                                              _mm_set1_epi8(static_cast<char>(nv12::kLumaBlack)));
    const __m256i luma_pairs = _mm256_cvtepu16_epi32(above_black);
    const __m256i even = times(_mm256_and_si256(luma_pairs, low_byte), nv12::kLuma);
    const __m256i odd = times(_mm256_srli_epi32(luma_pairs, 8), nv12::kLuma);

    const __m256i chroma_pairs = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(chroma)));
    const __m256i u = _mm256_and_si256(chroma_pairs, low_byte);
    const __m256i v = _mm256_srli_epi32(chroma_pairs, 8);
    constexpr int kZero = nv12::kChromaZero;
    const __m256i blue =
        _mm256_add_epi32(times(u, nv12::kBlueOfU), _mm256_set1_epi32(nv12::kHalf - kZero * nv12::kBlueOfU));
    const __m256i green =
        _mm256_add_epi32(_mm256_add_epi32(times(u, nv12::kGreenOfU), times(v, nv12::kGreenOfV)),
                         _mm256_set1_epi32(nv12::kHalf - kZero * (nv12::kGreenOfU + nv12::kGreenOfV)));
    const __m256i red =
        _mm256_add_epi32(times(v, nv12::kRedOfV), _mm256_set1_epi32(nv12::kHalf - kZero * nv12::kRedOfV));

    // Eight pixels in each half: blue and red bytes, green bytes and zeros; then pairs of bytes, then pixels.
    const __m256i blue_red = _mm256_packus_epi16(channel_words(even, odd, blue), channel_words(even, odd, red));
    const __m256i green_zero = _mm256_packus_epi16(channel_words(even, odd, green), _mm256_setzero_si256());
    const __m256i blue_green = _mm256_unpacklo_epi8(blue_red, green_zero);
    const __m256i red_zero = _mm256_unpackhi_epi8(blue_red, green_zero);
    const __m256i first = _mm256_unpacklo_epi16(blue_green, red_zero);
    const __m256i second = _mm256_unpackhi_epi16(blue_green, red_zero);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels), _mm256_castsi256_si128(first));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + 4), _mm256_castsi256_si128(second));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + 8), _mm256_extracti128_si256(first, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + 12), _mm256_extracti128_si256(second, 1));
}
#endif

/// `count` pixels, two by two: each pair shares its chroma.
void convert_pairs(const std::uint8_t* __restrict luma, const std::uint8_t* __restrict chroma,
                   std::uint32_t* __restrict pixels, std::int64_t count) {
    std::int64_t i = 0;
#if defined(RFK_CONVERTS_GROUPS)
    for (; i + kGroup <= count; i += kGroup) convert_group(luma + i, chroma + i, pixels + i);
#endif
    for (; i < count; i += 2) {
        const int u = chroma[i];
        const int v = chroma[i + 1];
        const std::int32_t first = nv12::luma_part(luma[i]);
        const std::int32_t second = nv12::luma_part(luma[i + 1]);
        const std::int32_t blue = nv12::blue_part(u);
        const std::int32_t green = nv12::green_part(u, v);
        const std::int32_t red = nv12::red_part(v);
        pixels[i] = nv12::byte_of(first, blue) | nv12::byte_of(first, green) << 8U | nv12::byte_of(first, red) << 16U;
        pixels[i + 1] =
            nv12::byte_of(second, blue) | nv12::byte_of(second, green) << 8U | nv12::byte_of(second, red) << 16U;
    }
}

/// The luma and the chroma, u in the low byte, of pixels that lie apart, side by side.
void gather(const std::uint8_t* __restrict from_luma, const std::uint8_t* __restrict from_chroma,
            const std::int32_t* __restrict columns, std::int64_t count, std::uint8_t* __restrict luma,
            std::uint16_t* __restrict chroma) {
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t column = columns[i];
        luma[i] = from_luma[column];
        std::memcpy(chroma + i, from_chroma + (column & ~1), sizeof(*chroma));
    }
}

void gather(const Nv12Plan& plan, const Planes& planes) {
    gather(planes.luma, planes.chroma, plan.columns, plan.column_count, plan.gathered_luma, plan.gathered_chroma);
}

void convert_gathered(const std::uint8_t* __restrict luma, const std::uint16_t* __restrict chroma,
                      std::uint32_t* __restrict pixels, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) pixels[i] = nv12::pixel(luma[i], chroma[i] & 0xFF, chroma[i] >> 8);
}

void convert_gathered_to_planes(const std::uint8_t* __restrict luma, const std::uint16_t* __restrict chroma,
                                std::uint8_t* __restrict blue, std::uint8_t* __restrict green,
                                std::uint8_t* __restrict red, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t part = nv12::luma_part(luma[i]);
        const int u = chroma[i] & 0xFF;
        const int v = chroma[i] >> 8;
        blue[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::blue_part(u)));
        green[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::green_part(u, v)));
        red[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::red_part(v)));
    }
}

}  // namespace

const std::uint8_t* convert_row(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::int64_t slot) {
    prefetch(plan, next_row);
    const Planes planes = row_of(plan, row);
    std::uint32_t* const pixels = plan.rows + slot * plan.row_pitch;
    if (plan.columns == nullptr) {
        convert_pairs(planes.luma + plan.first_column, planes.chroma + plan.first_column, pixels,
                      plan.end_column - plan.first_column);
    } else {
        gather(plan, planes);
        convert_gathered(plan.gathered_luma, plan.gathered_chroma, pixels, plan.column_count);
    }
    return reinterpret_cast<const std::uint8_t*>(pixels);
}

void convert_row_to_planes(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::uint8_t* planes,
                           std::int64_t plane_pitch) {
    prefetch(plan, next_row);
    gather(plan, row_of(plan, row));
    convert_gathered_to_planes(plan.gathered_luma, plan.gathered_chroma, planes, planes + plane_pitch,
                               planes + 2 * plane_pitch, plan.column_count);
}

}  // namespace rfkernels::RFK_VARIANT
