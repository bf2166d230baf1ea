#pragma once

// Vectors as wide as the instruction set being compiled for. The arithmetic is the compiler's own vector type, one
// source for x86 and Arm; only what that type lacks (a maximum in one instruction, the lanes of a comparison as bits)
// is spelt in intrinsics. Internal linkage throughout: see RFK_VARIANT in CMakeLists.txt.

#include <cstdint>
#include <cstring>

#include "device/arithmetic.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
// The unmasked forms make GCC 12 warn of an uninitialised value inside its own header; the code is the same.
constexpr __mmask16 kEveryLane = 0xFFFF;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef std::int16_t Shorts __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t ShortBits __attribute__((vector_size(4 * kLanes)));
constexpr int kShortLanes = 2 * kLanes;

inline Floats load(const float* from) {
    Floats lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
}

/// A bfloat16 as it lies in memory.
struct Bfloat16 {
    std::uint16_t bits;

    operator float() const { return from_bfloat16(bits); }
};

inline Floats load(const Bfloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof(halves));
    return bits_as<Floats>(__builtin_convertvector(halves, Bits) << 16);
}

inline void store(float* to, Floats lanes) {
    std::memcpy(to, &lanes, sizeof(lanes));
}
inline void store(std::int32_t* to, Ints lanes) {
    std::memcpy(to, &lanes, sizeof(lanes));
}

inline Floats broadcast(float value) {
    return Floats{} + value;
}

// a > b ? a : b, thus b where either is NaN.
inline Floats greater_of(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_maskz_max_ps(kEveryLane, a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE__)
    return _mm_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}

// a < b ? a : b, thus b where either is NaN.
inline Floats lesser_of(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_maskz_min_ps(kEveryLane, a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE__)
    return _mm_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

// Bit i is set where a[i] > b[i]; a NaN sets none.
inline std::uint32_t lanes_greater(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
#elif defined(__AVX2__)
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
#elif defined(__SSE__)
    return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps(a, b)));
#else
    const Ints greater = a > b;
    std::uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<std::uint32_t>(greater[lane] & 1) << lane;
    return bits;
#endif
}

// Bit i is set where a[i] <= b[i]; a NaN sets none.
inline std::uint32_t lanes_at_most(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
#elif defined(__AVX2__)
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ)));
#elif defined(__SSE__)
    return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmple_ps(a, b)));
#else
    const Ints at_most = a <= b;
    std::uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<std::uint32_t>(at_most[lane] & 1) << lane;
    return bits;
#endif
}

inline ShortBits load_short_bits(const Bfloat16* from) {
    ShortBits lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
}

inline Shorts greater_of(Shorts a, Shorts b) {
    return a > b ? a : b;
}

inline bool any_lane_greater(Shorts a, Shorts b) {
#if defined(__AVX512BW__)
    return _mm512_cmpgt_epi16_mask(bits_as<__m512i>(a), bits_as<__m512i>(b)) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_epi8(_mm256_cmpgt_epi16(bits_as<__m256i>(a), bits_as<__m256i>(b))) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_epi8(_mm_cmpgt_epi16(bits_as<__m128i>(a), bits_as<__m128i>(b))) != 0;
#else
    const Shorts greater = a > b;
    bool any = false;
    for (int lane = 0; lane < kShortLanes; ++lane) any = any || greater[lane] != 0;
    return any;
#endif
}

}  // namespace
}  // namespace RFK_VARIANT
}  // namespace rfkernels
