#pragma once

// What every implementation of detection must agree on, bit for bit: the decode of a box, the order of candidates.
// Only additions, multiplications and divisions of IEEE fp32, as in device/arithmetic.h.
// All functions have internal linkage: this header is compiled once for every instruction set.

#include <cstdint>

#include "device/arithmetic.h"

namespace rfkernels {
namespace {

// Ascending keys are descending scores; -0 and 0 are equal, as scores are.
RFK_HOST_DEVICE inline std::uint32_t descending_key(float score) {
    const std::uint32_t bits = bits_as<std::uint32_t>(score + 0.0f);
    return (bits & 0x80000000u) != 0 ? bits : bits ^ 0x7FFFFFFFu;
}

struct Box {
    float x1, y1, x2, y2;
};

// distances: left, top, right, bottom in anchor steps.
RFK_HOST_DEVICE inline Box box_from_distances(const float* distances, float anchor_x, float anchor_y, float stride) {
    return Box{(anchor_x - distances[0]) * stride, (anchor_y - distances[1]) * stride,
               (anchor_x + distances[2]) * stride, (anchor_y + distances[3]) * stride};
}

RFK_HOST_DEVICE inline Box box_from_centre(float centre_x, float centre_y, float width, float height) {
    const float half_width = width / 2.0f;
    const float half_height = height / 2.0f;
    return Box{centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height};
}

RFK_HOST_DEVICE inline bool is_finite(const Box& box) {
    return is_finite(box.x1) && is_finite(box.y1) && is_finite(box.x2) && is_finite(box.y2);
}

}  // namespace
}  // namespace rfkernels
