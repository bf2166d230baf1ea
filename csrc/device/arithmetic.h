#pragma once

// What every implementation of every op must agree on, bit for bit: the exponential and what is made of it. Written
// once for scalars and for vectors of lanes; only additions, multiplications and divisions of IEEE fp32, which round
// alike everywhere as long as nothing is contracted (-ffp-contract=off, -fmad=false). All functions have internal
// linkage: this header is compiled once for every instruction set.

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define RFK_HOST_DEVICE __host__ __device__
#else
#define RFK_HOST_DEVICE
#endif

namespace rfkernels {
namespace {

template <typename To, typename From>
RFK_HOST_DEVICE inline To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

// A bfloat16 is the upper half of a float32.
RFK_HOST_DEVICE inline float from_bfloat16(std::uint16_t bits) {
    return bits_as<float>(static_cast<std::uint32_t>(bits) << 16U);
}

// e^x within 1 ulp (tests/csrc/test_detection.cpp looks). Float is float or a vector of lanes, Bits the unsigned
// integers of the same size.
//   x = n ln 2 + r,  |r| <= ln 2 / 2;   e^x = 2^n (1 + r + r^2 q(r)),  q the Taylor series up to r^7 / 7!
// 2^n is applied in two halves so that subnormal results are rounded and overflow gives infinity. NaN stays NaN.
template <typename Float, typename Bits>
RFK_HOST_DEVICE inline Float exponential(Float x) {
    const Float lowest = Float{} - 104.0f;  // e^-104 rounds to 0
    const Float highest = Float{} + 89.0f;  // e^89 is more than a float holds
    x = x < lowest ? lowest : x;
    x = x > highest ? highest : x;
    const float rounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    const Float shifted = x * 1.44269504f + rounder;
    const Float n = shifted - rounder;
    // ln 2 in two parts; the first has 9 significant bits, so that n times it is exact.
    Float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Float q = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
    q = q * r + 1.0f / 120.0f;
    q = q * r + 1.0f / 24.0f;
    q = q * r + 1.0f / 6.0f;
    q = q * r + 0.5f;
    const Float fraction = (q * (r * r) + r) + 1.0f;
    const Bits biased = bits_as<Bits>(shifted) - (0x4B400000u - 256u);  // n + 256
    const Bits half = biased >> 1;
    const Bits rest = biased - half;
    return fraction * bits_as<Float>((half - 1u) << 23) * bits_as<Float>((rest - 1u) << 23);
}

// Within 2 ulp from -88 up; below -88.7, where it would be subnormal, 0.
RFK_HOST_DEVICE inline float sigmoid(float x) {
    return 1.0f / (1.0f + exponential<float, std::uint32_t>(-x));
}

// Neither NaN nor infinite.
RFK_HOST_DEVICE inline bool is_finite(float x) {
    return x - x == 0.0f;
}

}  // namespace
}  // namespace rfkernels
