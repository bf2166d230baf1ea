#pragma once

// The arithmetic of OpenCV's COLOR_YUV2BGR_NV12: BT.601 of limited range, 20 bits of fraction. Shared by the CPU and
// CUDA implementations. Functions are `static`: each instruction set keeps its own copy.

#include <cstdint>

#include "ops/preprocess/resize_arithmetic.h"

namespace rfkernels::nv12 {

constexpr int kFractionBits = 20;
constexpr int kLumaBlack = 16;
constexpr int kChromaZero = 128;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);
constexpr std::int32_t kLuma = 1220542;
constexpr std::int32_t kBlueOfU = 2116026;
constexpr std::int32_t kGreenOfU = -409993;
constexpr std::int32_t kGreenOfV = -852492;
constexpr std::int32_t kRedOfV = 1673527;

/// What a pixel's luma adds to all channels, half a step included: at most 2.93e8, which with the chroma's part, at
/// most 2.69e8 to either side, fits 31 bits.
RFK_HOST_DEVICE static inline std::int32_t luma_part(int luma) {
    const std::int32_t above_black = luma > kLumaBlack ? luma - kLumaBlack : 0;
    return kLuma * above_black + kHalf;
}

// What the chroma adds to each; u and v are bytes as they are stored.
RFK_HOST_DEVICE static inline std::int32_t blue_part(int u) {
    return kBlueOfU * (u - kChromaZero);
}
RFK_HOST_DEVICE static inline std::int32_t green_part(int u, int v) {
    return kGreenOfU * (u - kChromaZero) + kGreenOfV * (v - kChromaZero);
}
RFK_HOST_DEVICE static inline std::int32_t red_part(int v) {
    return kRedOfV * (v - kChromaZero);
}

/// The byte of a channel.
RFK_HOST_DEVICE static inline std::uint32_t byte_of(std::int32_t luma, std::int32_t chroma) {
    const std::int32_t value = (luma + chroma) >> kFractionBits;
    return static_cast<std::uint32_t>(value < 0 ? 0 : (value > 255 ? 255 : value));
}

/// A pixel's three bytes, blue the lowest.
RFK_HOST_DEVICE static inline std::uint32_t pixel(int luma, int u, int v) {
    const std::int32_t part = luma_part(luma);
    return byte_of(part, blue_part(u)) | byte_of(part, green_part(u, v)) << 8U | byte_of(part, red_part(v)) << 16U;
}

}  // namespace rfkernels::nv12
