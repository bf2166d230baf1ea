#pragma once

#include <string>
#include <vector>

#include "common.h"
#include "rfkernels/detection.h"
#include "rfkernels/tensor.h"

namespace rfkernels::bindings {

/// An array of float32, or of uint16 for bfloat16, of any layout, as it lies in memory.
TensorView view_of_values(const py::array& array, const std::string& name, int rank);

/// `placements` and `image_sizes` of a call: one of each for every image.
std::vector<ImageTarget> read_targets(const py::sequence& placements, const py::sequence& image_sizes);

}  // namespace rfkernels::bindings
