#pragma once

// What the bindings of ops on a device share.

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "rfkernels/device.h"

namespace rfkernels::bindings {

/// Calls body() with the lock of Python released: a function that a stream calls on the host takes it.
template <typename Body>
void without_lock(const Body& body) {
    Status status;
    {
        const py::gil_scoped_release release;
        status = body();
    }
    raise_if_failed(status);
}

/// A C-contiguous array on a device, of the type and shape that it must have.
template <typename T>
T* packed_device_array(const py::tuple& given, const char* name, DataType dtype,
                       const std::vector<std::int64_t>& shape) {
    const TensorView view = device_view(given, name);
    std::int64_t stride = static_cast<std::int64_t>(sizeof(T));
    bool fits = view.dtype == dtype && view.rank == static_cast<int>(shape.size());
    for (int axis = view.rank - 1; fits && axis >= 0; --axis) {
        const std::int64_t size = view.shape[static_cast<std::size_t>(axis)];
        fits = size == shape[static_cast<std::size_t>(axis)] &&
               (size <= 1 || view.strides[static_cast<std::size_t>(axis)] == stride);
        stride *= size;
    }
    if (!fits) {
        throw py::value_error(std::string(name) + " is " + given[1].cast<std::string>() + " " +
                              std::string(py::str(given[2])) + "; give C-contiguous " +
                              (dtype == DataType::kFloat32 ? "float32 "
                               : dtype == DataType::kUint8 ? "uint8 "
                                                           : "int32 ") +
                              std::string(py::str(py::cast(shape))));
    }
    return static_cast<T*>(view.data);
}

}  // namespace rfkernels::bindings
