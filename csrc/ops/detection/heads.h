#pragma once

// The outputs of a network that detection starts from, read and checked.

#include <cstdint>
#include <string>
#include <vector>

#include "device/anchors.h"
#include "device/planes.h"
#include "rfkernels/detection.h"

namespace rfkernels {

constexpr int kSides = 4;

struct Level {
    Plane box;
    Plane classes;
    Grid grid;
};

struct Heads {
    std::vector<Level> levels;
    std::int64_t batch_size = 0;
    std::int64_t class_count = 0;
    std::int64_t reg_max = 0;
};

/// `as_plane`, or `as_device_plane` where a device is to read them.
using ReadPlane = Status(const TensorView& view, const std::string& name, Plane* plane);

Status read_levels(const HeadLevel* levels, std::int64_t level_count, ReadPlane* read_plane, Heads* heads);

/// A prediction [N, 4 + class_count, A] that is decoded already.
Status read_prediction(const TensorView& prediction, ReadPlane* read_plane, Plane* plane);

}  // namespace rfkernels
