#include "rfkernels/preprocess.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "images.h"
#include "on_device.h"

namespace rfkernels::bindings {
namespace {

DataType data_type_of(const py::dtype& dtype) {
    // Compared by value: an array that was pickled, by a queue between processes say, has a dtype object of its own.
    if (dtype.equal(py::dtype("uint8"))) return DataType::kUint8;
    if (dtype.equal(py::dtype("float16"))) return DataType::kFloat16;
    if (dtype.equal(py::dtype("uint16"))) return DataType::kBfloat16;  // its bits: NumPy has no such type
    if (dtype.equal(py::dtype("float32"))) return DataType::kFloat32;
    throw py::value_error("dtype is " + std::string(py::str(dtype)) +
                          "; give uint8, float16, float32, or uint16 for bfloat16");
}

void copy_channels(const std::vector<float>& values, const char* name, float (&target)[3]) {
    if (values.size() != 3) {
        throw py::value_error(std::string(name) + " holds " + std::to_string(values.size()) +
                              " numbers; give one for each of the 3 channels");
    }
    for (std::size_t channel = 0; channel < 3; ++channel) target[channel] = values[channel];
}

PreprocessParams params_of(bool swap_channels, int pad_value, const std::string& normalization, float divisor,
                           const std::vector<float>& first, const std::vector<float>& second) {
    PreprocessParams params;
    params.swap_channels = swap_channels;
    if (pad_value < 0 || pad_value > 255) {
        throw py::value_error("pad_value is " + std::to_string(pad_value) + "; give 0 to 255");
    }
    params.pad_value = static_cast<std::uint8_t>(pad_value);
    params.divisor = divisor;
    if (normalization == "none") {
        params.normalization = Normalization::kNone;
    } else if (normalization == "divide") {
        params.normalization = Normalization::kDivide;
        copy_channels(first, "mean", params.mean);
        copy_channels(second, "std", params.deviation);
    } else if (normalization == "multiply_add") {
        params.normalization = Normalization::kMultiplyAdd;
        copy_channels(first, "scale", params.scale);
        copy_channels(second, "offset", params.offset);
    } else {
        throw py::value_error("normalization is \"" + normalization +
                              "\"; give \"none\", \"divide\" or \"multiply_add\"");
    }
    return params;
}

void preprocess_into(py::array out, const std::vector<py::object>& images, const std::vector<Placement>& placements,
                     const PreprocessParams& params) {
    if (images.size() != placements.size()) {
        throw py::value_error("images holds " + std::to_string(images.size()) + " and placements " +
                              std::to_string(placements.size()) + "; give one placement for each image");
    }
    if (out.ndim() != 4) {
        throw py::value_error("out has shape " + shape_of(out) + "; give [images, 3, height, width]");
    }
    if (!out.writeable()) throw py::value_error("out is read-only; give an array that may be written to");
    if ((out.flags() & py::array::c_style) == 0) {
        throw py::value_error("out is not C-contiguous; give an array of which every row follows the one before it");
    }
    TensorView destination;
    destination.data = out.mutable_data();
    destination.dtype = data_type_of(out.dtype());
    destination.rank = 4;
    std::int64_t stride = out.itemsize();
    for (int axis = 3; axis >= 0; --axis) {
        destination.shape[axis] = out.shape(axis);
        destination.strides[axis] = stride;  // NumPy's own mean nothing along an axis of length 1
        stride *= out.shape(axis);
    }
    std::vector<ImageKeepers> keepers(images.size());  // references that outlive the time without the GIL
    std::vector<ImageView> views(images.size());
    for (std::size_t n = 0; n < images.size(); ++n) {
        views[n] = any_image(images[n], "images[" + std::to_string(n) + "]", &keepers[n]);
    }
    Status status;
    {
        py::gil_scoped_release release;
        status = preprocess(views.data(), placements.data(), static_cast<std::int64_t>(views.size()), params,
                            destination, nullptr);
    }
    raise_if_failed(status);
}

/// An op on one image that gives one of the same size, run without the GIL.
template <typename Op>
py::array_t<std::uint8_t> same_size(const py::array& image, const Op& op) {
    py::array keeper;
    const ImageView view = packed_image(image, "image", &keeper);
    py::array_t<std::uint8_t> result({view.height, view.width, std::int64_t{3}});
    TensorView destination;
    destination.data = result.mutable_data();
    destination.dtype = DataType::kUint8;
    destination.rank = 3;
    destination.shape = {view.height, view.width, 3};
    destination.strides = {view.width * 3, 3, 1};
    Status status;
    {
        py::gil_scoped_release release;
        status = op(view, destination);
    }
    raise_if_failed(status);
    return result;
}

Contrast contrast_of(const std::string& kind) {
    if (kind == "stretching") return Contrast::kStretching;
    if (kind == "histogram_equalization") return Contrast::kHistogramEqualization;
    if (kind == "adaptive_equalization") return Contrast::kAdaptiveEqualization;
    throw py::value_error("kind is \"" + kind +
                          "\"; give \"stretching\", \"histogram_equalization\" or \"adaptive_equalization\"");
}

bool red_first_of(const std::string& color_order) {
    if (color_order == "rgb") return true;
    if (color_order == "bgr") return false;
    throw py::value_error("color_order is \"" + color_order + "\"; give \"bgr\" or \"rgb\"");
}

Interpolation interpolation_of(const std::string& name) {
    if (name == "bilinear") return Interpolation::kBilinear;
    if (name == "antialiased") return Interpolation::kAntialiased;
    throw py::value_error("interpolation is \"" + name + "\"; give \"bilinear\" or \"antialiased\"");
}

SizeRounding rounding_of(const std::string& name) {
    if (name == "truncate") return SizeRounding::kTruncate;
    if (name == "half_to_even") return SizeRounding::kHalfToEven;
    throw py::value_error("rounding is \"" + name + "\"; give \"truncate\" or \"half_to_even\"");
}

py::tuple fields_of(const Rectangle& rectangle) {
    return py::make_tuple(rectangle.x, rectangle.y, rectangle.width, rectangle.height);
}

py::tuple fields_of(const Placement& placement) {
    return py::make_tuple(fields_of(placement.crop), placement.resized_width, placement.resized_height, placement.left,
                          placement.top, placement.scale_x, placement.scale_y);
}

Rectangle rectangle_of(const py::tuple& fields) {
    return Rectangle{fields[0].cast<std::int64_t>(), fields[1].cast<std::int64_t>(), fields[2].cast<std::int64_t>(),
                     fields[3].cast<std::int64_t>()};
}

void bind_placement(py::module_& module) {
    py::class_<Rectangle>(module, "Rectangle", "Half-open rectangle of pixels.")
        .def(py::init([](std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height) {
                 return Rectangle{x, y, width, height};
             }),
             py::kw_only(), py::arg("x"), py::arg("y"), py::arg("width"), py::arg("height"))
        .def_readonly("x", &Rectangle::x)
        .def_readonly("y", &Rectangle::y)
        .def_readonly("width", &Rectangle::width)
        .def_readonly("height", &Rectangle::height)
        .def(
            "__eq__", [](const Rectangle& a, const Rectangle& b) { return fields_of(a).equal(fields_of(b)); },
            py::is_operator())
        .def("__hash__", [](const Rectangle& rectangle) { return py::hash(fields_of(rectangle)); })
        .def(py::pickle([](const Rectangle& rectangle) { return fields_of(rectangle); },
                        [](const py::tuple& fields) { return rectangle_of(fields); }))
        .def("__repr__", [](const Rectangle& rectangle) {
            return py::str("Rectangle(x={}, y={}, width={}, height={})")
                .format(rectangle.x, rectangle.y, rectangle.width, rectangle.height);
        });
    py::class_<Placement>(module, "Placement", "Where an image lies in the network's input.")
        .def(py::init([](const Rectangle& crop, std::int64_t resized_width, std::int64_t resized_height,
                         std::int64_t left, std::int64_t top, double scale_x, double scale_y) {
                 return Placement{crop, resized_width, resized_height, left, top, scale_x, scale_y};
             }),
             py::kw_only(), py::arg("crop"), py::arg("resized_width"), py::arg("resized_height"), py::arg("left"),
             py::arg("top"), py::arg("scale_x"), py::arg("scale_y"))
        .def_readonly("crop", &Placement::crop)
        .def_readonly("resized_width", &Placement::resized_width)
        .def_readonly("resized_height", &Placement::resized_height)
        .def_readonly("left", &Placement::left)
        .def_readonly("top", &Placement::top)
        .def_readonly("scale_x", &Placement::scale_x)
        .def_readonly("scale_y", &Placement::scale_y)
        .def(
            "__eq__", [](const Placement& a, const Placement& b) { return fields_of(a).equal(fields_of(b)); },
            py::is_operator())
        .def("__hash__", [](const Placement& placement) { return py::hash(fields_of(placement)); })
        .def(py::pickle([](const Placement& placement) { return fields_of(placement); },
                        [](const py::tuple& fields) {
                            return Placement{rectangle_of(fields[0]),        fields[1].cast<std::int64_t>(),
                                             fields[2].cast<std::int64_t>(), fields[3].cast<std::int64_t>(),
                                             fields[4].cast<std::int64_t>(), fields[5].cast<double>(),
                                             fields[6].cast<double>()};
                        }))
        .def("__repr__", [](const Placement& placement) {
            return py::str(
                       "Placement(crop={!r}, resized_width={}, resized_height={}, left={}, top={}, scale_x={!r}, "
                       "scale_y={!r})")
                .format(placement.crop, placement.resized_width, placement.resized_height, placement.left,
                        placement.top, placement.scale_x, placement.scale_y);
        });
}

void bind_preprocess_on_device(py::module_& module) {
    module.def(
        "preprocess_descriptor_bytes",
        [](const std::vector<Placement>& placements, const std::string& interpolation, std::int64_t height,
           std::int64_t width) {
            return preprocess_descriptor_bytes(placements.data(), static_cast<std::int64_t>(placements.size()),
                                               interpolation_of(interpolation), Size{height, width});
        },
        py::arg("placements"), py::arg("interpolation"), py::arg("height"), py::arg("width"),
        "Bytes that describe_preprocess writes.");
    module.def(
        "describe_preprocess",
        [](const py::array_t<std::uint8_t>& descriptors, const std::vector<py::tuple>& images,
           const std::vector<Placement>& placements, const py::tuple& destination, bool swap_channels, int pad_value,
           const std::string& normalization, float divisor, const std::vector<float>& first,
           const std::vector<float>& second, bool keep_padding, const std::string& interpolation) {
            PreprocessParams params = params_of(swap_channels, pad_value, normalization, divisor, first, second);
            params.interpolation = interpolation_of(interpolation);
            params.keep_padding = keep_padding;
            std::vector<ImageView> views;
            for (std::size_t n = 0; n < images.size(); ++n) {
                views.push_back(device_image(images[n], "images[" + std::to_string(n) + "]"));
            }
            if (views.size() != placements.size()) {
                throw py::value_error("images holds " + std::to_string(views.size()) + " and placements " +
                                      std::to_string(placements.size()) + "; give one placement for each image");
            }
            py::array_t<std::uint8_t> writable = descriptors;
            raise_if_failed(describe_preprocess(
                views.data(), placements.data(), static_cast<std::int64_t>(views.size()), params,
                device_view(destination, "out"), writable.mutable_data(), static_cast<std::size_t>(writable.size())));
        },
        py::arg("descriptors").noconvert(), py::arg("images"), py::arg("placements"), py::arg("destination"),
        py::kw_only(), py::arg("swap_channels"), py::arg("pad_value"), py::arg("normalization"), py::arg("divisor"),
        py::arg("first"), py::arg("second"), py::arg("keep_padding"), py::arg("interpolation"),
        "What preprocess_on_device reads, into host memory.");
    module.def(
        "preprocess_on_device",
        [](Device& device, std::uintptr_t descriptors, const py::tuple& destination, const std::string& interpolation,
           std::uintptr_t stream) {
            const TensorView view = device_view(destination, "out");
            const Interpolation chosen = interpolation_of(interpolation);
            without_lock([&] {
                return preprocess_on_device(device, pointer_at(descriptors), view.shape[0], chosen, view,
                                            pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("descriptors"), py::arg("destination"), py::arg("interpolation"), py::arg("stream"),
        "Images to network input on a device, one launch.");
}

void bind_planning(py::module_& module) {
    module.def(
        "plan_static_crop",
        [](std::int64_t height, std::int64_t width, double x_min, double x_max, double y_min, double y_max) {
            Rectangle crop;
            raise_if_failed(plan_static_crop(height, width, x_min, x_max, y_min, y_max, &crop));
            return crop;
        },
        py::arg("height"), py::arg("width"), py::kw_only(), py::arg("x_min"), py::arg("x_max"), py::arg("y_min"),
        py::arg("y_max"), "The part of an image between percentages of its sides.");
    module.def(
        "plan_letterbox",
        [](const Rectangle& crop, std::int64_t height, std::int64_t width, const std::string& rounding) {
            Placement placement;
            raise_if_failed(plan_letterbox(crop, Size{height, width}, rounding_of(rounding), &placement));
            return placement;
        },
        py::arg("crop"), py::arg("height"), py::arg("width"), py::arg("rounding"),
        "Fitted into height x width, in the middle of it.");
    module.def(
        "plan_stretch",
        [](const Rectangle& crop, std::int64_t height, std::int64_t width) {
            Placement placement;
            raise_if_failed(plan_stretch(crop, Size{height, width}, &placement));
            return placement;
        },
        py::arg("crop"), py::arg("height"), py::arg("width"), "Stretched to height x width.");
    module.def(
        "plan_center_crop",
        [](const Rectangle& crop, std::int64_t height, std::int64_t width) {
            Placement placement;
            raise_if_failed(plan_center_crop(crop, Size{height, width}, &placement));
            return placement;
        },
        py::arg("crop"), py::arg("height"), py::arg("width"), "The middle of it, not resized.");
    module.def(
        "plan_shortest_side_crop",
        [](const Rectangle& crop, std::int64_t height, std::int64_t width) {
            Placement placement;
            raise_if_failed(plan_shortest_side_crop(crop, Size{height, width}, &placement));
            return placement;
        },
        py::arg("crop"), py::arg("height"), py::arg("width"),
        "Resized so that its shorter side is the canvas's, the middle of it.");
    module.def(
        "plan_fit_longer_edge",
        [](const Rectangle& crop, std::int64_t height, std::int64_t width) {
            Placement placement;
            Size canvas;
            raise_if_failed(plan_fit_longer_edge(crop, Size{height, width}, &placement, &canvas));
            return placement;
        },
        py::arg("crop"), py::arg("height"), py::arg("width"),
        "Resized to just fit into height x width; the canvas is as large as the resized image.");
}

}  // namespace

void bind_preprocess(py::module_& module) {
    bind_placement(module);
    bind_planning(module);
    bind_preprocess_on_device(module);
    module.def(
        "preprocess_into",
        [](const py::array& out, const std::vector<py::object>& images, const std::vector<Placement>& placements,
           bool swap_channels, int pad_value, const std::string& normalization, float divisor,
           const std::vector<float>& first, const std::vector<float>& second, bool keep_padding,
           const std::string& interpolation) {
            PreprocessParams params = params_of(swap_channels, pad_value, normalization, divisor, first, second);
            params.interpolation = interpolation_of(interpolation);
            params.keep_padding = keep_padding;
            preprocess_into(out, images, placements, params);
        },
        py::arg("out"), py::arg("images"), py::arg("placements"), py::kw_only(), py::arg("swap_channels"),
        py::arg("pad_value"), py::arg("normalization"), py::arg("divisor"), py::arg("first"), py::arg("second"),
        py::arg("keep_padding"), py::arg("interpolation"),
        "Images to network input in one pass; `first`, `second` are mean and std, or scale and offset.");
    module.def(
        "grayscale",
        [](const py::array& image, const std::string& color_order) {
            const bool red_first = red_first_of(color_order);
            return same_size(image, [red_first](const ImageView& view, const TensorView& destination) {
                return grayscale(view, red_first, destination);
            });
        },
        py::arg("image"), py::kw_only(), py::arg("color_order"), "Grey in three equal channels.");
    module.def(
        "contrast",
        [](const py::array& image, const std::string& kind) {
            const Contrast contrast_kind = contrast_of(kind);
            return same_size(image, [contrast_kind](const ImageView& view, const TensorView& destination) {
                return contrast(view, contrast_kind, destination);
            });
        },
        py::arg("image"), py::kw_only(), py::arg("kind"), "Contrast enhancement.");
}

}  // namespace rfkernels::bindings
