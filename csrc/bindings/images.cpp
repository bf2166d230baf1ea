#include "images.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "arguments.h"

namespace rfkernels::bindings {
namespace {

std::string text_of(const std::vector<std::int64_t>& shape) {
    return py::str(py::tuple(py::cast(shape)));
}

/// NV12 of planes of these shapes, without the planes.
ImageView nv12_of(const std::vector<std::int64_t>& luma, const std::vector<std::int64_t>& chroma,
                  const std::string& name) {
    if (luma.size() != 2) {
        throw py::value_error(name + ".luma has shape " + text_of(luma) + "; give [height, width]");
    }
    if (luma[0] % 2 != 0 || luma[1] % 2 != 0) {
        throw py::value_error(name + ".luma has shape " + text_of(luma) +
                              "; height and width must be even, as four pixels share their chroma");
    }
    const std::vector<std::int64_t> wanted{luma[0] / 2, luma[1] / 2, 2};
    if (chroma != wanted) {
        throw py::value_error(name + ".chroma has shape " + text_of(chroma) + " and its luma " + text_of(luma) +
                              "; give chroma of " + text_of(wanted));
    }
    if (luma[0] == 0 || luma[1] == 0) {
        throw py::value_error(name + ".luma has shape " + text_of(luma) + "; sides must be 2 to 2^24 pixels");
    }
    ImageView view;
    view.format = PixelFormat::kNv12;
    view.height = luma[0];
    view.width = luma[1];
    return view;
}

/// Whether the rows of NV12's planes are packed: bytes of luma, or pairs of chroma, side by side.
bool has_packed_rows(const std::int64_t* shape, const std::int64_t* strides, int rank) {
    const std::int64_t pixel = rank == 3 ? 2 : 1;
    const bool is_packed = (shape[1] == 1 || strides[1] == pixel) && (rank == 2 || strides[2] == 1);
    return is_packed && (shape[0] == 1 || strides[0] >= shape[1] * pixel);
}

/// The array itself, or a contiguous copy.
py::array plane_of(const py::object& given, const std::string& name) {
    if (!py::isinstance<py::array_t<std::uint8_t>>(given)) {
        throw py::value_error(
            name + " is " +
            (py::isinstance<py::array>(given) ? "of dtype " + std::string(py::str(given.attr("dtype"))) : "no array") +
            "; give an array of uint8");
    }
    const py::array array = py::reinterpret_borrow<py::array>(given);
    const bool is_plane = array.ndim() == 2 || array.ndim() == 3;
    if (!is_plane || has_packed_rows(array.shape(), array.strides(), static_cast<int>(array.ndim()))) return array;
    return py::array_t<std::uint8_t, py::array::c_style>(array);
}

std::vector<std::int64_t> shape_vector(const py::array& array) {
    return std::vector<std::int64_t>(array.shape(), array.shape() + array.ndim());
}

ImageView nv12_image(const py::tuple& planes, const std::string& name, ImageKeepers* keepers) {
    if (planes.size() != 2) throw py::value_error(name + " is a tuple; give an array, or an NV12 of two planes");
    py::array& luma = (*keepers)[0];
    py::array& chroma = (*keepers)[1];
    luma = plane_of(planes[0], name + ".luma");
    chroma = plane_of(planes[1], name + ".chroma");
    ImageView view = nv12_of(shape_vector(luma), shape_vector(chroma), name);
    view.data = static_cast<const std::uint8_t*>(luma.data());
    view.chroma = static_cast<const std::uint8_t*>(chroma.data());
    // NumPy's own mean nothing along an axis of length 1; luma has two rows at least.
    view.row_pitch = luma.strides(0);
    view.chroma_pitch = chroma.shape(0) > 1 ? chroma.strides(0) : view.width;
    return view;
}

ImageView device_nv12_image(const py::tuple& planes, const std::string& name) {
    const py::tuple given[2] = {planes[0].cast<py::tuple>(), planes[1].cast<py::tuple>()};
    const char* names[2] = {".luma", ".chroma"};
    TensorView views[2];
    std::vector<std::int64_t> shapes[2];
    for (int plane = 0; plane < 2; ++plane) {
        views[plane] = device_view(given[plane], name + names[plane]);
        shapes[plane].assign(views[plane].shape.begin(), views[plane].shape.begin() + views[plane].rank);
    }
    ImageView image = nv12_of(shapes[0], shapes[1], name);
    for (int plane = 0; plane < 2; ++plane) {
        const TensorView& view = views[plane];
        if (view.dtype != DataType::kUint8 || !has_packed_rows(view.shape.data(), view.strides.data(), view.rank)) {
            throw py::value_error(name + names[plane] + " has strides " + std::string(py::str(given[plane][3])) +
                                  " and dtype " + std::string(py::str(given[plane][1])) +
                                  "; give uint8 whose rows are packed, any distance apart");
        }
    }
    image.data = static_cast<const std::uint8_t*>(views[0].data);
    image.chroma = static_cast<const std::uint8_t*>(views[1].data);
    image.row_pitch = views[0].strides[0];
    image.chroma_pitch = image.height > 2 ? views[1].strides[0] : image.width;
    return image;
}

}  // namespace

ImageView packed_image(const py::array& given, const std::string& name, py::array* keeper) {
    if (!py::isinstance<py::array_t<std::uint8_t>>(given)) {
        throw py::value_error(name + " has dtype " + std::string(py::str(given.dtype())) + "; give uint8");
    }
    if (given.ndim() != 2 && given.ndim() != 3) {
        throw py::value_error(name + " has shape " + shape_of(given) +
                              "; give [height, width] or [height, width, channels]");
    }
    const std::int64_t channels = given.ndim() == 2 ? 1 : given.shape(2);
    if (channels != 1 && channels != 3 && channels != 4) {
        throw py::value_error(name + " has shape " + shape_of(given) +
                              "; give 1 (grey), 3 or 4 (colour, alpha ignored) channels");
    }
    if (given.size() == 0) {
        throw py::value_error(name + " has shape " + shape_of(given) + "; sides must be 1 to 2^24 pixels");
    }
    const bool packed = (given.ndim() == 2 || given.strides(2) == 1 || channels == 1) &&
                        (given.strides(1) == channels || given.shape(1) == 1) &&
                        (given.strides(0) >= given.shape(1) * channels || given.shape(0) == 1);
    // The constructor, unlike ensure(), raises when there is no memory for the copy.
    *keeper = packed ? given : py::array_t<std::uint8_t, py::array::c_style>(given);
    ImageView view;
    view.data = static_cast<const std::uint8_t*>(keeper->data());
    view.height = keeper->shape(0);
    view.width = keeper->shape(1);
    view.channels = static_cast<int>(channels);
    view.row_pitch = keeper->shape(0) > 1 ? keeper->strides(0) : view.width * channels;
    return view;
}

ImageView any_image(const py::object& given, const std::string& name, ImageKeepers* keepers) {
    if (py::isinstance<py::array>(given)) {
        return packed_image(py::reinterpret_borrow<py::array>(given), name, &(*keepers)[0]);
    }
    if (!py::isinstance<py::tuple>(given)) throw py::value_error(name + " is no array; give one, or an NV12");
    return nv12_image(py::reinterpret_borrow<py::tuple>(given), name, keepers);
}

ImageView device_image(const py::tuple& given, const std::string& name) {
    if (given.size() == 2) return device_nv12_image(given, name);
    const TensorView view = device_view(given, name);
    const std::int64_t channels = view.rank == 3 ? view.shape[2] : 1;
    const bool is_packed = view.rank >= 2 && (view.shape[1] == 1 || view.strides[1] == channels) &&
                           (view.rank == 2 || channels == 1 || view.strides[2] == 1);
    if (view.dtype != DataType::kUint8 || (view.rank != 2 && view.rank != 3) || !is_packed) {
        throw py::value_error(name + " has shape " + std::string(py::str(given[2])) + ", strides " +
                              std::string(py::str(given[3])) + " and dtype " + std::string(py::str(given[1])) +
                              "; give uint8 [height, width] or [height, width, channels] of pixels that lie one "
                              "behind the other");
    }
    ImageView image;
    image.data = static_cast<const std::uint8_t*>(view.data);
    image.height = view.shape[0];
    image.width = view.shape[1];
    image.channels = static_cast<int>(std::min<std::int64_t>(channels, 5));
    image.row_pitch = image.height > 1 ? view.strides[0] : image.width * channels;
    return image;
}

}  // namespace rfkernels::bindings
