#pragma once

// CUDA's language for a host compiler: what a kernel may use, and nothing else. Through csrc/device/kernel.h only.
//
// Vector types and half precision are the toolkit's own headers, which compile for the host. They define __global__ and
// __shared__ as nothing, which is why shared arrays are declared with RFK_SHARED.

// clang-format off
#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
// clang-format on

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulation/lane.h"

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#define threadIdx (::rfkernels::emulation::lane::thread_index())
#define blockIdx (::rfkernels::emulation::lane::block_index())
#define blockDim (::rfkernels::emulation::lane::block_extent())
#define gridDim (::rfkernels::emulation::lane::grid_extent())
#define warpSize 32

// Called for what they do: inlining them would let the hooks see the harness at work.
#define RFK_UNWATCHED static __attribute__((noinline, no_sanitize_thread))
#define RFK_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace rfkernels::emulation {

template <typename T>
RFK_UNWATCHED std::uint64_t bits_of(T value) {
    static_assert(sizeof(T) <= 8, "warp operations exchange up to 8 bytes");
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <typename T>
RFK_UNWATCHED T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

RFK_UNWATCHED int lane_number() {
    const Extent index = lane::thread_index();
    const Extent extent = lane::block_extent();
    return static_cast<int>((index.x + extent.x * (index.y + extent.y * index.z)) % 32);
}

template <typename T>
RFK_UNWATCHED T shuffle(unsigned mask, T value, int source, Site site) {
    return from_bits<T>(lane::warp_operation(WarpOperation::kShuffle, mask, bits_of(value), source, site));
}

// Read, change and write in one step; what was there before.
template <typename T, typename Change>
RFK_UNWATCHED T atomic_change(T* address, Change change, const void* place) {
    lane::marked_access(address, sizeof(T), true, true, place);
    T before;
    std::memcpy(&before, address, sizeof(T));
    const T after = change(before);
    std::memcpy(address, &after, sizeof(T));
    return before;
}

}  // namespace rfkernels::emulation

static inline void __syncthreads(RFK_SITE) {
    rfkernels::emulation::lane::barrier(rfkernels::emulation::BarrierKind::kPlain, 0, {file, line});
}
static inline int __syncthreads_count(int predicate, RFK_SITE) {
    return rfkernels::emulation::lane::barrier(rfkernels::emulation::BarrierKind::kCount, predicate, {file, line});
}
static inline int __syncthreads_and(int predicate, RFK_SITE) {
    return rfkernels::emulation::lane::barrier(rfkernels::emulation::BarrierKind::kAnd, predicate, {file, line});
}
static inline int __syncthreads_or(int predicate, RFK_SITE) {
    return rfkernels::emulation::lane::barrier(rfkernels::emulation::BarrierKind::kOr, predicate, {file, line});
}
static inline void __threadfence() {
    rfkernels::emulation::lane::fence();
}
static inline void __threadfence_block() {
    rfkernels::emulation::lane::fence();
}

static inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, RFK_SITE) {
    rfkernels::emulation::lane::warp_operation(rfkernels::emulation::WarpOperation::kSync, mask, 0, 0, {file, line});
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, RFK_SITE) {
    return static_cast<unsigned>(rfkernels::emulation::lane::warp_operation(
        rfkernels::emulation::WarpOperation::kBallot, mask, predicate != 0 ? 1 : 0, 0, {file, line}));
}
static inline int __any_sync(unsigned mask, int predicate, RFK_SITE) {
    return static_cast<int>(rfkernels::emulation::lane::warp_operation(rfkernels::emulation::WarpOperation::kAny, mask,
                                                                       predicate != 0 ? 1 : 0, 0, {file, line}));
}
static inline int __all_sync(unsigned mask, int predicate, RFK_SITE) {
    return static_cast<int>(rfkernels::emulation::lane::warp_operation(rfkernels::emulation::WarpOperation::kAll, mask,
                                                                       predicate != 0 ? 1 : 0, 0, {file, line}));
}
template <typename T>
static inline unsigned __match_any_sync(unsigned mask, T value, RFK_SITE) {
    return static_cast<unsigned>(rfkernels::emulation::lane::warp_operation(
        rfkernels::emulation::WarpOperation::kMatchAny, mask, rfkernels::emulation::bits_of(value), 0, {file, line}));
}
static inline unsigned __activemask(RFK_SITE) {
    return rfkernels::emulation::lane::active_mask({file, line});
}

// The lanes of a shuffle as PTX defines them: within parts of `width` lanes, one's own value where there is no other.
template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, RFK_SITE) {
    const int first = rfkernels::emulation::lane_number() / width * width;
    return rfkernels::emulation::shuffle(mask, value, first + (source & (width - 1)), {file, line});
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, RFK_SITE) {
    const int own = rfkernels::emulation::lane_number();
    const int source = own - static_cast<int>(delta);
    return rfkernels::emulation::shuffle(mask, value, source < own / width * width ? own : source, {file, line});
}
template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, RFK_SITE) {
    const int own = rfkernels::emulation::lane_number();
    const int source = own + static_cast<int>(delta);
    return rfkernels::emulation::shuffle(mask, value, source >= own / width * width + width ? own : source,
                                         {file, line});
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, RFK_SITE) {
    const int own = rfkernels::emulation::lane_number();
    const int source = own ^ lanes;
    return rfkernels::emulation::shuffle(mask, value, source >= own / width * width + width ? own : source,
                                         {file, line});
}

#define RFK_REDUCTION(name, type, operation)                                                                       \
    static inline type name(unsigned mask, type value, RFK_SITE) {                                                 \
        return static_cast<type>(rfkernels::emulation::lane::warp_operation(                                       \
            rfkernels::emulation::WarpOperation::operation, mask, static_cast<unsigned>(value), 0, {file, line})); \
    }
RFK_REDUCTION(__reduce_add_sync, unsigned, kAddUnsigned)
RFK_REDUCTION(__reduce_add_sync, int, kAddUnsigned)
RFK_REDUCTION(__reduce_min_sync, unsigned, kMinUnsigned)
RFK_REDUCTION(__reduce_max_sync, unsigned, kMaxUnsigned)
RFK_REDUCTION(__reduce_min_sync, int, kMinSigned)
RFK_REDUCTION(__reduce_max_sync, int, kMaxSigned)
RFK_REDUCTION(__reduce_and_sync, unsigned, kAnd)
RFK_REDUCTION(__reduce_or_sync, unsigned, kOr)
RFK_REDUCTION(__reduce_xor_sync, unsigned, kXor)
#undef RFK_REDUCTION

#define RFK_ATOMIC(name, expression)                                                               \
    template <typename T>                                                                          \
    RFK_UNWATCHED T name(T* address, T value) {                                                    \
        return rfkernels::emulation::atomic_change(                                                \
            address, [value](T before) __attribute__((no_sanitize_thread)) { return expression; }, \
            __builtin_return_address(0));                                                          \
    }
RFK_ATOMIC(atomicAdd, static_cast<T>(before + value))
RFK_ATOMIC(atomicSub, static_cast<T>(before - value))
RFK_ATOMIC(atomicMin, before < value ? before : value)
RFK_ATOMIC(atomicMax, before < value ? value : before)
RFK_ATOMIC(atomicAnd, static_cast<T>(before& value))
RFK_ATOMIC(atomicOr, static_cast<T>(before | value))
RFK_ATOMIC(atomicXor, static_cast<T>(before ^ value))
RFK_ATOMIC(atomicExch, (static_cast<void>(before), value))
#undef RFK_ATOMIC

template <typename T>
RFK_UNWATCHED T atomicCAS(T* address, T expected, T value) {
    return rfkernels::emulation::atomic_change(
        address,
        [expected, value](T before) __attribute__((no_sanitize_thread)) { return before == expected ? value : before; },
        __builtin_return_address(0));
}

template <typename T>
static inline T __ldg(const T* address) {
    return *address;
}
static inline int __popc(unsigned value) {
    return __builtin_popcount(value);
}
static inline int __popcll(unsigned long long value) {
    return __builtin_popcountll(value);
}
static inline int __clz(int value) {
    return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value));
}
static inline int __clzll(long long value) {
    return value == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(value));
}
static inline int __ffs(int value) {
    return __builtin_ffs(value);
}
static inline int __ffsll(long long value) {
    return __builtin_ffsll(value);
}
static inline unsigned __brev(unsigned value) {
    unsigned result = 0;
    for (int bit = 0; bit < 32; ++bit) result |= (value >> bit & 1U) << (31 - bit);
    return result;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((std::uint64_t{high} << 32U | low) >> (shift & 31U));
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const std::uint64_t bytes = std::uint64_t{y} << 32U | x;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned choice = selector >> (4 * i) & 0xFU;
        unsigned byte = static_cast<unsigned>(bytes >> (8 * (choice & 7U))) & 0xFFU;
        if ((choice & 8U) != 0) byte = (byte & 0x80U) != 0 ? 0xFFU : 0U;
        result |= byte << (8 * i);
    }
    return result;
}
static inline unsigned __float_as_uint(float value) {
    return rfkernels::emulation::from_bits<unsigned>(rfkernels::emulation::bits_of(value));
}
static inline float __uint_as_float(unsigned value) {
    return rfkernels::emulation::from_bits<float>(value);
}
static inline int __float_as_int(float value) {
    return rfkernels::emulation::from_bits<int>(rfkernels::emulation::bits_of(value));
}
static inline float __int_as_float(int value) {
    return rfkernels::emulation::from_bits<float>(static_cast<unsigned>(value));
}
static inline int __float2int_rn(float value) {
    return static_cast<int>(rintf(value));
}
static inline int __mul24(int a, int b) {
    return a * b;
}
template <typename T>
static inline T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
static inline T max(T a, T b) {
    return a < b ? b : a;
}
