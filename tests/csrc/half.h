#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// float16 for tests, which have no CUDA.

/// float16 of a number that is 0, of float16's normal range, infinite or NaN; to nearest, ties to even.
inline std::uint16_t half_of(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    const std::uint32_t sign = bits >> 16U & 0x8000U;
    if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00U | (bits & 0x1FFU));
    if (std::isinf(value)) return static_cast<std::uint16_t>(sign | 0x7C00U);
    if (value == 0.0F) return static_cast<std::uint16_t>(sign);
    const std::uint32_t rounded = (bits & 0x7FFFFFFFU) + 0xFFFU + (bits >> 13U & 1U);
    return static_cast<std::uint16_t>(sign | ((rounded - (112U << 23U)) >> 13U));
}

/// The number that it is; subnormal ones are not expected.
inline float from_half(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    const std::uint32_t rest = half & 0x7FFFU;
    std::uint32_t bits = sign | (rest == 0 ? 0U : (rest << 13U) + (112U << 23U));
    if (rest >= 0x7C00U) bits = sign | 0x7F800000U | (rest & 0x3FFU) << 13U;
    float value = 0.0F;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}
