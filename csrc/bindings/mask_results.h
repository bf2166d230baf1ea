#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "rfkernels/masks.h"

namespace rfkernels::bindings {

/// In masks_on_device.cpp.
void bind_masks_on_device(py::module_& module);

/// An array over the memory of the vector: outlines of many masks may be large, and are not there twice.
template <typename T>
py::array_t<T> as_array(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
    auto kept = std::make_unique<std::vector<T>>(std::move(values));
    const py::capsule owner(kept.get(), [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
    return py::array_t<T>(std::move(shape), kept.release()->data(), owner);
}
template <typename T>
py::array_t<T> as_array(std::vector<T>&& values) {
    const auto size = static_cast<py::ssize_t>(values.size());
    return as_array(std::move(values), {size});
}

inline py::tuple as_tuple(Polygons&& polygons) {
    const auto point_count = static_cast<py::ssize_t>(polygons.points.size() / 2);
    return py::make_tuple(as_array(std::move(polygons.points), {point_count, 2}),
                          as_array(std::move(polygons.first_points)), as_array(std::move(polygons.first_contours)),
                          as_array(std::move(polygons.areas)));
}

/// Counts are ASCII, whatever is in the mask.
inline py::tuple as_tuple(RunLengths&& lengths) {
    py::list counts;
    for (std::string& text : lengths.counts) {
        counts.append(py::str(text));
        std::string().swap(text);
    }
    return py::make_tuple(std::move(counts), as_array(std::move(lengths.areas)));
}

inline ContourChoice choice_of(bool all_contours) {
    return all_contours ? ContourChoice::kAll : ContourChoice::kMostPoints;
}

}  // namespace rfkernels::bindings
