#pragma once

// The way from the network's input back to the image, for the host and for kernels. Plain data, and functions of
// internal linkage.

#include "device/arithmetic.h"

namespace rfkernels {

/// One axis of it, as float32 takes it.
struct AxisBack {
    float pad = 0.0f;
    float scale = 1.0f;
    float crop = 0.0f;
    float size = 0.0f;
};

namespace {

/// Where a position of the network's input lies in the image, or outside it.
RFK_HOST_DEVICE inline float position_in_image(const AxisBack& axis, float network) {
    return (network - axis.pad) / axis.scale + axis.crop;
}

/// The place of the image nearest to a position.
RFK_HOST_DEVICE inline float clamped_to_image(const AxisBack& axis, float position) {
    const float inside = position < 0.0f ? 0.0f : position;
    return axis.size < inside ? axis.size : inside;
}

}  // namespace
}  // namespace rfkernels
