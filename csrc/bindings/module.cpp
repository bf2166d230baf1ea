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
            break;
    }
    const py::object unavailable = py::module_::import("rfkernels.errors").attr("UnavailableError");
    PyErr_SetString(unavailable.ptr(), status.message());
    throw py::error_already_set();
}

}  // namespace rfkernels::bindings

PYBIND11_MODULE(_native, module) {
    module.doc() = "The native ops of rfkernels. Users call them through rfkernels.ops.";
    rfkernels::bindings::bind_instruction_set(module);
    rfkernels::bindings::bind_detection(module);
    rfkernels::bindings::bind_preprocess(module);
    rfkernels::bindings::bind_neighbourhoods(module);
    rfkernels::bindings::bind_keypoints(module);
    rfkernels::bindings::bind_masks(module);
    rfkernels::bindings::bind_connected_components(module);
}
