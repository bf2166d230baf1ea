#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common.h"
#include "rfkernels/detection.h"
#include "rfkernels/tensor.h"

namespace rfkernels::bindings {

/// An array of float32, or of uint16 for bfloat16, of any layout, as it lies in memory.
TensorView view_of_values(const py::array& array, const std::string& name, int rank);

/// What `rfkernels.device.DeviceArray.view` gives: address, dtype, shape, strides in bytes. "bfloat16" is a dtype here.
TensorView device_view(const py::tuple& view, const std::string& name);

/// As it is written in Python.
inline std::string shape_of(const py::array& array) {
    return py::str(array.attr("shape"));
}

/// A number as an address, of device memory or a stream.
inline void* pointer_at(std::uintptr_t address) {
    return reinterpret_cast<void*>(address);
}

/// `placements` and `image_sizes` of a call: one of each for every image.
std::vector<ImageTarget> read_targets(const py::sequence& placements, const py::sequence& image_sizes);

}  // namespace rfkernels::bindings
