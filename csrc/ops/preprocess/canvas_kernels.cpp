// Compiled once for each instruction set: bytes of a finished row to the numbers of the canvas.

#include "ops/preprocess/canvas_kernels.h"

#include <cstring>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace rfkernels::RFK_VARIANT {
namespace {

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

}  // namespace

/// To float32, or to the bits of bfloat16.
template <typename Element>
void Canvas::normalize_row(const std::uint8_t* source, int channel, Element* target, std::int64_t count) const {
    const ChannelNormalization& constants = plan_.normalization[channel];
    if (plan_.exact_division) {
        return plan_.divides ? normalize<true, true>(source, constants, target, count)
                             : normalize<true, false>(source, constants, target, count);
    }
    return plan_.divides ? normalize<false, true>(source, constants, target, count)
                         : normalize<false, false>(source, constants, target, count);
}

Canvas::Canvas(const DrawPlan& plan) : plan_(plan) {
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

void Canvas::draw_row(std::int64_t row) const {
    const std::int64_t right = plan_.left + plan_.column_count;
    for (int channel = 0; channel < 3; ++channel) {
        const int plane = plan_.channels == 1 ? 0 : plan_.source_channel[channel];
        pad(channel, row, 0, plan_.left);
        convert(plan_.finished_row + plane * plan_.scratch_pitch, channel, at(channel, row, plan_.left));
        pad(channel, row, right, plan_.canvas_width - right);
    }
}

void Canvas::pad_rows(std::int64_t begin, std::int64_t end) const {
    for (int channel = 0; channel < 3; ++channel) {
        for (std::int64_t row = begin; row < end; ++row) pad(channel, row, 0, plan_.canvas_width);
    }
}

void* Canvas::at(int channel, std::int64_t row, std::int64_t column) const {
    const std::int64_t element = plan_.dtype == DataType::kUint8 ? 1 : plan_.dtype == DataType::kFloat32 ? 4 : 2;
    return static_cast<unsigned char*>(plan_.destination) + channel * plan_.plane_stride + row * plan_.row_stride +
           column * element;
}

void Canvas::pad(int channel, std::int64_t row, std::int64_t column, std::int64_t count) const {
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

void Canvas::convert(const std::uint8_t* source, int channel, void* target) const {
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
bool Canvas::looks_up() const {
#if defined(RFK_WIDE_TABLES)
    return plan_.dtype == DataType::kBfloat16 || plan_.dtype == DataType::kFloat16;
#elif defined(__F16C__)
    return false;
#else
    return plan_.dtype == DataType::kFloat16;
#endif
}

void Canvas::fill_table(int channel) {
    std::uint8_t every_byte[256];
    for (int byte = 0; byte < 256; ++byte) every_byte[byte] = static_cast<std::uint8_t>(byte);
    to_two_bytes(every_byte, channel, tables_[channel], 256);
}

/// To the bits of float16 or bfloat16.
void Canvas::to_two_bytes(const std::uint8_t* source, int channel, std::uint16_t* target, std::int64_t count) const {
    if (plan_.dtype == DataType::kBfloat16) return normalize_row(source, channel, target, count);
    constexpr std::int64_t kChunk = 256;
    float values[kChunk];
    for (std::int64_t begin = 0; begin < count; begin += kChunk) {
        const std::int64_t size = count - begin < kChunk ? count - begin : kChunk;
        normalize_row(source + begin, channel, values, size);
        halve(values, target + begin, size);
    }
}

}  // namespace rfkernels::RFK_VARIANT
