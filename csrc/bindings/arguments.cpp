#include "arguments.h"

#include <cmath>

namespace rfkernels::bindings {
namespace {

/// How an object looks in an error message.
std::string shown(const py::handle& object) {
    // In ASCII: whatever a name holds, it can be cut anywhere and written anywhere.
    const py::object text = py::reinterpret_steal<py::object>(PyObject_ASCII(object.ptr()));
    if (!text) throw py::error_already_set();
    const std::string ascii = text.cast<std::string>();
    return ascii.size() <= 60 ? ascii : ascii.substr(0, 60) + "...";
}

double number_of(const py::handle& object, const std::string& what) {
    const double number = PyFloat_AsDouble(object.ptr());
    if (number == -1.0 && PyErr_Occurred() != nullptr) {
        const bool is_no_number = PyErr_ExceptionMatches(PyExc_TypeError) != 0 ||
                                  PyErr_ExceptionMatches(PyExc_ValueError) != 0 ||
                                  PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
        if (!is_no_number) throw py::error_already_set();
        PyErr_Clear();
        throw py::value_error(what + " is " + shown(object) + "; give a number");
    }
    return number;
}

std::int64_t pixels_of(const py::handle& object, const std::string& what) {
    const double number = number_of(object, what);
    if (!(std::fabs(number) < 2147483648.0 && std::trunc(number) == number)) {
        throw py::value_error(what + " is " + shown(object) + "; give a whole number of pixels below 2^31");
    }
    return static_cast<std::int64_t>(number);
}

py::object attribute_of(const py::handle& object, const char* attribute, const std::string& name) {
    PyObject* found = PyObject_GetAttrString(object.ptr(), attribute);
    if (found != nullptr) return py::reinterpret_steal<py::object>(found);
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    throw py::value_error(name + " is " + shown(object) + ", which has no " + attribute +
                          "; give an rfkernels.ops.Placement");
}

/// `rfkernels.ops.Placement`, or any object with what is needed of its attributes.
Placement placement_of(const py::handle& object, const std::string& name) {
    if (py::type::of(object).is(py::type::of<Placement>())) return object.cast<Placement>();
    const auto pixels = [](const py::handle& owner, const char* attribute, const std::string& owner_name) {
        return pixels_of(attribute_of(owner, attribute, owner_name), owner_name + "." + attribute);
    };
    Placement placement;
    placement.left = pixels(object, "left", name);
    placement.top = pixels(object, "top", name);
    placement.scale_x = number_of(attribute_of(object, "scale_x", name), name + ".scale_x");
    placement.scale_y = number_of(attribute_of(object, "scale_y", name), name + ".scale_y");
    const py::object crop = attribute_of(object, "crop", name);
    placement.crop.x = pixels(crop, "x", name + ".crop");
    placement.crop.y = pixels(crop, "y", name + ".crop");
    return placement;
}

}  // namespace

TensorView device_view(const py::tuple& view, const std::string& name) {
    const auto shape = view[2].cast<std::vector<std::int64_t>>();
    const auto strides = view[3].cast<std::vector<std::int64_t>>();
    const std::string dtype = view[1].cast<std::string>();
    TensorView result;
    if (shape.size() != strides.size() || shape.size() > kMaxRank) {
        throw py::value_error(name + " has " + std::to_string(shape.size()) + " axes; give at most " +
                              std::to_string(kMaxRank));
    }
    if (dtype == "uint8" || dtype == "bool") {
        result.dtype = DataType::kUint8;
    } else if (dtype == "int32") {
        result.dtype = DataType::kInt32;
    } else if (dtype == "float16") {
        result.dtype = DataType::kFloat16;
    } else if (dtype == "bfloat16") {
        result.dtype = DataType::kBfloat16;
    } else if (dtype == "float32") {
        result.dtype = DataType::kFloat32;
    } else {
        throw py::value_error(name + " has dtype " + dtype + "; give uint8, int32, float16, bfloat16 or float32");
    }
    result.data = pointer_at(view[0].cast<std::uintptr_t>());
    result.rank = static_cast<int>(shape.size());
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        result.shape[axis] = shape[axis];
        result.strides[axis] = strides[axis];
    }
    return result;
}

TensorView view_of_values(const py::array& array, const std::string& name, int rank) {
    const bool is_float32 = py::isinstance<py::array_t<float>>(array);
    if (!is_float32 && !py::isinstance<py::array_t<std::uint16_t>>(array)) {
        throw py::value_error(name + " has dtype " + py::str(array.dtype()).cast<std::string>() +
                              "; give float32, or uint16 for bfloat16, in this machine's byte order");
    }
    if (array.ndim() != rank) {
        throw py::value_error(name + " has " + std::to_string(array.ndim()) + " axes; give " + std::to_string(rank));
    }
    TensorView view;
    view.data = const_cast<void*>(array.data());
    view.dtype = is_float32 ? DataType::kFloat32 : DataType::kBfloat16;
    view.rank = rank;
    for (int axis = 0; axis < rank; ++axis) {
        view.shape[axis] = array.shape(axis);
        view.strides[axis] = array.strides(axis);
    }
    return view;
}

std::vector<ImageTarget> read_targets(const py::sequence& placements, const py::sequence& image_sizes) {
    if (placements.size() != image_sizes.size()) {
        throw py::value_error("placements has " + std::to_string(placements.size()) + " entries, image_sizes " +
                              std::to_string(image_sizes.size()) + "; give equally many");
    }
    std::vector<ImageTarget> images(placements.size());
    for (std::size_t i = 0; i < images.size(); ++i) {
        const std::string size_name = "image_sizes[" + std::to_string(i) + "]";
        images[i].placement = placement_of(placements[i], "placements[" + std::to_string(i) + "]");
        const py::object size = image_sizes[i];
        const bool is_row = py::isinstance<py::array>(size) && py::cast<py::array>(size).ndim() == 1;
        if (!(is_row || py::isinstance<py::tuple>(size) || py::isinstance<py::list>(size)) || py::len(size) != 2) {
            throw py::value_error(size_name + " is " + shown(size) + "; give (height, width)");
        }
        images[i].image_height = pixels_of(size[py::int_(0)], size_name + " height");
        images[i].image_width = pixels_of(size[py::int_(1)], size_name + " width");
    }
    return images;
}

}  // namespace rfkernels::bindings
