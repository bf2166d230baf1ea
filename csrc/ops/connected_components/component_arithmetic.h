#pragma once

// What every implementation of connected_components must agree on: labels, what is too small, what is put in its place.
// All functions have internal linkage: this header is compiled once for every instruction set.

#include <cstdint>

#include "device/arithmetic.h"
#include "rfkernels/connected_components.h"

namespace rfkernels {
namespace {

/// The label of the component whose first pixel in raster order this is.
RFK_HOST_DEVICE inline std::int32_t label_of_first_pixel(std::int32_t row, std::int32_t column, std::int32_t width) {
    return 1 + row * width + column;
}

/// `area` is that of a component, so from 1: a limit of 0 lets nothing through.
RFK_HOST_DEVICE inline bool is_too_small(std::int32_t area, std::int64_t max_area) {
    return area <= max_area;
}

RFK_HOST_DEVICE inline float filled_hole(float threshold) {
    return threshold + kCleaningStep;
}
RFK_HOST_DEVICE inline float removed_sprinkle(float threshold) {
    return threshold - kCleaningStep;
}

}  // namespace
}  // namespace rfkernels
