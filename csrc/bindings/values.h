#pragma once

#include <string>

#include "common.h"
#include "rfkernels/tensor.h"

namespace rfkernels::bindings {

/// What a network gives, float32 or the bits of bfloat16 in uint16, as an op sees it. The array must outlive it.
///
/// Throws: ValueError for another dtype or another number of axes; the message begins with `name`.
TensorView view_of_values(const py::array& array, const std::string& name, int rank);

}  // namespace rfkernels::bindings
