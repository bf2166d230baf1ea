#pragma once

// Images that Python gives, as the ops take them.

#include <array>
#include <string>

#include "common.h"
#include "rfkernels/image.h"

namespace rfkernels::bindings {

/// What an ImageView sees, held for as long as it is used.
using ImageKeepers = std::array<py::array, 2>;

/// A view of a uint8 array [height, width] or [height, width, channels] with any row pitch. `keeper` is made to hold
/// the array that is seen: the given one, or a contiguous copy where its pixels do not lie one behind the other.
ImageView packed_image(const py::array& given, const std::string& name, py::array* keeper);

/// The same, or NV12: a tuple of two arrays, luma uint8 [height, width] and chroma uint8 [height / 2, width / 2, 2].
ImageView any_image(const py::object& given, const std::string& name, ImageKeepers* keepers);

/// An image on a device: a view (see `device_view`) of uint8 [height, width] or [height, width, channels], packed
/// pixels; or a tuple of two, of NV12's planes.
ImageView device_image(const py::tuple& given, const std::string& name);

}  // namespace rfkernels::bindings
