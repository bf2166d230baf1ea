#pragma once

// Where a detection's box cuts its mask: what every implementation must agree on, bit for bit. Plain data and functions
// with internal linkage: the kernels' file includes this too, and may share no code with the rest.

#include <cmath>
#include <cstdint>

#include "device/arithmetic.h"

namespace rfkernels {
namespace {

/// Half-open range of pixels of an axis.
struct PixelRange {
    std::int64_t first = 0;
    std::int64_t end = 0;

    RFK_HOST_DEVICE bool empty() const { return end <= first; }
    RFK_HOST_DEVICE std::int64_t size() const { return end - first; }
};

RFK_HOST_DEVICE inline PixelRange overlap(const PixelRange& a, const PixelRange& b) {
    return PixelRange{a.first < b.first ? b.first : a.first, b.end < a.end ? b.end : a.end};
}

/// What cutting one axis takes: of a grid, and of how its pixels are made of the prototypes'.
struct AxisCut {
    bool cuts_probabilities = false;
    std::int64_t prototype_size = 0;
    std::int64_t grid_size = 0;
    std::int64_t offset = 0;              ///< of the resized picture in the grid
    const std::int32_t* first = nullptr;  ///< [resized_size] of `Resampling`, ascending
    std::int64_t resized_size = 0;
    std::int64_t taps = 0;
    float box_before = 0.0f;  ///< see MaskGrid
    float box_scale = 1.0f;
    float box_offset = 0.0f;
};

/// One axis of the box: where it cuts the prototypes, and which pixels of the resized picture can be inside.
struct Cut {
    PixelRange prototypes;  ///< values outside count as outside the object
    PixelRange resized;
};

RFK_HOST_DEVICE inline float clamped_edge(float edge, float limit) {
    const float from_zero = edge < 0.0f ? 0.0f : edge;
    return limit < from_zero ? limit : from_zero;
}

/// The pixels p with low <= p < high, of [0, size). Empty where one of them is NaN.
RFK_HOST_DEVICE inline PixelRange pixels_between(float low, float high, std::int64_t size) {
    if (!(low < high)) return PixelRange{};
    const float limit = static_cast<float>(size);
    const std::int64_t first = static_cast<std::int64_t>(ceilf(clamped_edge(low, limit)));
    const std::int64_t end = static_cast<std::int64_t>(ceilf(clamped_edge(high, limit)));
    return PixelRange{first, end < size ? end : size};
}

/// The number of ascending values below `limit`.
RFK_HOST_DEVICE inline std::int64_t count_below(const std::int32_t* ascending, std::int64_t size, std::int64_t limit) {
    std::int64_t first = 0;
    while (size > 0) {
        const std::int64_t half = size / 2;
        const bool is_below = ascending[first + half] < limit;
        first += is_below ? half + 1 : 0;
        size = is_below ? size - half - 1 : half;
    }
    return first;
}

/// Box edges on the way that the grid says; float32, as the peers compute it.
RFK_HOST_DEVICE inline float moved_edge(const AxisCut& axis, float edge) {
    return (edge - axis.box_before) / axis.box_scale + axis.box_offset;
}

RFK_HOST_DEVICE inline Cut cut_axis(const AxisCut& axis, float box_low, float box_high) {
    const float low = moved_edge(axis, box_low);
    const float high = moved_edge(axis, box_high);
    if (!(is_finite(low) && is_finite(high))) return Cut{};
    if (axis.cuts_probabilities) {
        // rintf rounds half to even, as nearbyint does.
        const PixelRange kept = pixels_between(rintf(low), rintf(high), axis.prototype_size);
        if (kept.empty()) return Cut{};
        // The results that have a tap within what is kept.
        return Cut{kept, PixelRange{count_below(axis.first, axis.resized_size, kept.first - axis.taps + 1),
                                    count_below(axis.first, axis.resized_size, kept.end)}};
    }
    const float limit = static_cast<float>(axis.grid_size);
    const PixelRange in_grid = pixels_between(clamped_edge(low, limit), clamped_edge(high, limit), axis.grid_size);
    return Cut{
        PixelRange{0, axis.prototype_size},
        overlap(PixelRange{in_grid.first - axis.offset, in_grid.end - axis.offset}, PixelRange{0, axis.resized_size})};
}

}  // namespace
}  // namespace rfkernels
