#include <new>

#include "common.h"

namespace rfkernels::bindings {

void raise_if_failed(const Status& status) {
    switch (status.code()) {
        case StatusCode::kOk:
            return;
        case StatusCode::kInvalidArgument:
            throw py::value_error(status.message());
        case StatusCode::kOutOfMemory:
            PyErr_SetString(PyExc_MemoryError, status.message());
            throw py::error_already_set();
        case StatusCode::kUnavailable:
        case StatusCode::kDeviceError:
            break;
    }
    const char* name = status.code() == StatusCode::kDeviceError ? "DeviceError" : "UnavailableError";
    const py::object error = py::module_::import("rfkernels.errors").attr(name);
    PyErr_SetString(error.ptr(), status.message());
    throw py::error_already_set();
}

}  // namespace rfkernels::bindings

PYBIND11_MODULE(_native, module) {
    module.doc() = "The native ops of rfkernels. Users call them through rfkernels.ops.";
    rfkernels::bindings::bind_device(module);
    rfkernels::bindings::bind_dlpack(module);
    rfkernels::bindings::bind_instruction_set(module);
    rfkernels::bindings::bind_detection(module);
    rfkernels::bindings::bind_preprocess(module);
    rfkernels::bindings::bind_neighbourhoods(module);
    rfkernels::bindings::bind_keypoints(module);
    rfkernels::bindings::bind_masks(module);
    rfkernels::bindings::bind_emulation(module);
    rfkernels::bindings::bind_connected_components(module);
}
