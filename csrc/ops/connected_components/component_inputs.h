#pragma once

// The pixels that component_tile.h reads: bytes of masks, and logits of either type, which it may pass on to where
// cleaned ones go. For the kernels' files.

#include "device/kernel.h"
#include "ops/connected_components/connected_components_device.h"

namespace rfkernels::RFK_DEVICE {
namespace {

struct MaskInput {
    using Element = std::uint8_t;
    static constexpr bool kHasBackground = false;
    const std::uint8_t* mask;

    __device__ __forceinline__ Element load(int pixel) const { return mask[pixel]; }
    __device__ static __forceinline__ Element neither() { return 0; }
    __device__ __forceinline__ bool is_foreground(Element value) const { return value != 0; }
    __device__ __forceinline__ bool is_background(Element) const { return false; }
    __device__ __forceinline__ void pass_on(int, Element) const {}
};

struct Single {
    using Element = float;
    __device__ static __forceinline__ float to_float(Element value) { return value; }
    __device__ static __forceinline__ Element from_float(float value) { return value; }
};

struct Half {
    using Element = std::uint16_t;
    __device__ static __forceinline__ float to_float(Element value) { return __half2float(__ushort_as_half(value)); }
    __device__ static __forceinline__ Element from_float(float value) {
        return __half_as_ushort(__float2half_rn(value));
    }
};

template <typename Kind>
struct LogitInput {
    using Element = typename Kind::Element;
    static constexpr bool kHasBackground = true;
    const Element* logits;
    float threshold;
    Element* out;  // null where it is the logits themselves

    __device__ __forceinline__ Element load(int pixel) const { return logits[pixel]; }
    /// A NaN.
    __device__ static __forceinline__ Element neither() { return Kind::from_float(__uint_as_float(0x7FC00000U)); }
    __device__ __forceinline__ bool is_foreground(Element value) const { return Kind::to_float(value) > threshold; }
    __device__ __forceinline__ bool is_background(Element value) const { return Kind::to_float(value) <= threshold; }
    __device__ __forceinline__ void pass_on(int pixel, Element value) const {
        if (out != nullptr) out[pixel] = value;
    }
};

}  // namespace
}  // namespace rfkernels::RFK_DEVICE
