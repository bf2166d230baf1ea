#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "rfkernels/status.h"

namespace rfkernels::bindings {

namespace py = pybind11;

/// Turns a Status into the Python exception of the same meaning: ValueError, MemoryError,
/// rfkernels.UnavailableError or rfkernels.DeviceError.
void raise_if_failed(const Status& status);

// One function for each op; each stands in the file of the op's name.
void bind_instruction_set(py::module_& module);
void bind_detection(py::module_& module);
void bind_preprocess(py::module_& module);
void bind_neighbourhoods(py::module_& module);
void bind_keypoints(py::module_& module);
void bind_keypoints_on_device(py::module_& module);
void bind_masks(py::module_& module);
void bind_device(py::module_& module);
void bind_dlpack(py::module_& module);
void bind_emulation(py::module_& module);
void bind_connected_components(py::module_& module);

}  // namespace rfkernels::bindings
