#include "rfkernels/masks.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "mask_results.h"
#include "on_device.h"

namespace rfkernels::bindings {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;
/// height, width
using HeightWidth = std::pair<std::int64_t, std::int64_t>;

MaskConvention mask_convention_of(const std::string& name) {
    if (name == "v2") return MaskConvention::kV2;
    if (name == "ultralytics") return MaskConvention::kUltralytics;
    if (name == "ultralytics_native") return MaskConvention::kUltralyticsNative;
    throw py::value_error("convention is '" + name + "'; give v2, ultralytics or ultralytics_native");
}

py::dict fields_of(const MaskGrid& grid) {
    const Rectangle& source = grid.source;
    return py::dict(py::arg("width") = grid.width, py::arg("height") = grid.height,
                    py::arg("source") = py::make_tuple(source.x, source.y, source.width, source.height),
                    py::arg("presampling") = grid.presampling, py::arg("resized_width") = grid.resized_width,
                    py::arg("resized_height") = grid.resized_height, py::arg("left") = grid.left,
                    py::arg("top") = grid.top, py::arg("antialias") = grid.antialias,
                    py::arg("cut_probabilities") = grid.cut_probabilities, py::arg("box_left") = grid.box_left,
                    py::arg("box_top") = grid.box_top, py::arg("box_scale_x") = grid.box_scale_x,
                    py::arg("box_scale_y") = grid.box_scale_y, py::arg("box_offset_x") = grid.box_offset_x,
                    py::arg("box_offset_y") = grid.box_offset_y);
}

/// The arrays must outlive it.
MaskSources read_sources(const py::array& prototypes, const FloatArray& coefficients, const FloatArray& boxes) {
    MaskSources sources;
    sources.prototypes = view_of_values(prototypes, "prototypes", 4);
    const bool fits = coefficients.ndim() == 2 && boxes.ndim() == 2 && boxes.shape(1) == 4 &&
                      coefficients.shape(0) == boxes.shape(0) && coefficients.shape(1) == prototypes.shape(1);
    if (!fits) {
        throw py::value_error("coefficients and boxes do not fit prototypes of " + std::to_string(prototypes.shape(1)) +
                              " channels; give [n, channels] and [n, 4]");
    }
    sources.coefficients = coefficients.data();
    sources.boxes = boxes.data();
    sources.count = boxes.shape(0);
    return sources;
}

DenseMask view_of_mask(const ByteArray& mask) {
    if (mask.ndim() != 2) throw py::value_error("mask must be [height, width]");
    return DenseMask{mask.data(), mask.shape(0), mask.shape(1), mask.shape(1)};
}

void check_out(const ByteArray& out, const MaskSources& sources, std::int64_t height, std::int64_t row_bytes) {
    const bool fits =
        out.ndim() == 3 && out.shape(0) == sources.count && out.shape(1) == height && out.shape(2) == row_bytes;
    if (!fits) {
        throw py::value_error("out must be uint8 [" + std::to_string(sources.count) + ", " + std::to_string(height) +
                              ", " + std::to_string(row_bytes) + "], contiguous");
    }
}

}  // namespace

void bind_masks(py::module_& module) {
    bind_masks_on_device(module);
    py::class_<MaskGrid>(module, "MaskGrid", "The pixels that masks have, and how prototypes become them.")
        .def_readonly("width", &MaskGrid::width)
        .def_readonly("height", &MaskGrid::height)
        .def_readonly("source", &MaskGrid::source)
        .def_readonly("presampling", &MaskGrid::presampling)
        .def_readonly("resized_width", &MaskGrid::resized_width)
        .def_readonly("resized_height", &MaskGrid::resized_height)
        .def_readonly("left", &MaskGrid::left)
        .def_readonly("top", &MaskGrid::top)
        .def_readonly("antialias", &MaskGrid::antialias)
        .def_readonly("cut_probabilities", &MaskGrid::cut_probabilities)
        .def_readonly("box_left", &MaskGrid::box_left)
        .def_readonly("box_top", &MaskGrid::box_top)
        .def_readonly("box_scale_x", &MaskGrid::box_scale_x)
        .def_readonly("box_scale_y", &MaskGrid::box_scale_y)
        .def_readonly("box_offset_x", &MaskGrid::box_offset_x)
        .def_readonly("box_offset_y", &MaskGrid::box_offset_y)
        .def("__repr__", [](const MaskGrid& grid) { return py::str("MaskGrid({})").format(fields_of(grid)); });

    module.def(
        "plan_mask_grid",
        [](const Placement& placement, HeightWidth image_size, HeightWidth network_size, HeightWidth prototype_size,
           const std::string& convention, double resolution_factor) {
            MaskGridRequest request;
            request.convention = mask_convention_of(convention);
            request.placement = placement;
            std::tie(request.image_height, request.image_width) = image_size;
            std::tie(request.network_height, request.network_width) = network_size;
            std::tie(request.prototype_height, request.prototype_width) = prototype_size;
            request.resolution_factor = resolution_factor;
            MaskGrid grid;
            raise_if_failed(plan_mask_grid(request, &grid));
            return grid;
        },
        py::arg("placement"), py::arg("image_size"), py::arg("network_size"), py::arg("prototype_size"),
        py::arg("convention"), py::arg("resolution_factor"));

    module.def(
        "masks_to_polygons",
        [](const py::array& prototypes, const FloatArray& coefficients, const FloatArray& boxes, const MaskGrid& grid,
           bool all_contours) {
            const MaskSources sources = read_sources(prototypes, coefficients, boxes);
            Polygons polygons;
            without_lock([&] { return masks_to_polygons(sources, grid, choice_of(all_contours), &polygons); });
            return as_tuple(std::move(polygons));
        },
        py::arg("prototypes"), py::arg("coefficients").noconvert(), py::arg("boxes").noconvert(), py::arg("grid"),
        py::arg("all_contours"));

    module.def(
        "masks_to_run_lengths",
        [](const py::array& prototypes, const FloatArray& coefficients, const FloatArray& boxes, const MaskGrid& grid) {
            const MaskSources sources = read_sources(prototypes, coefficients, boxes);
            RunLengths lengths;
            without_lock([&] { return masks_to_run_lengths(sources, grid, &lengths); });
            return as_tuple(std::move(lengths));
        },
        py::arg("prototypes"), py::arg("coefficients").noconvert(), py::arg("boxes").noconvert(), py::arg("grid"));

    module.def(
        "masks_to_bits_into",
        [](ByteArray& out, const py::array& prototypes, const FloatArray& coefficients, const FloatArray& boxes,
           const MaskGrid& grid) {
            const MaskSources sources = read_sources(prototypes, coefficients, boxes);
            check_out(out, sources, grid.height, (grid.width + 7) / 8);
            std::uint8_t* to = out.mutable_data();
            without_lock([&] { return masks_to_bits(sources, grid, to); });
        },
        py::arg("out").noconvert(), py::arg("prototypes"), py::arg("coefficients").noconvert(),
        py::arg("boxes").noconvert(), py::arg("grid"));

    module.def(
        "masks_to_dense_into",
        [](ByteArray& out, const py::array& prototypes, const FloatArray& coefficients, const FloatArray& boxes,
           const MaskGrid& grid) {
            const MaskSources sources = read_sources(prototypes, coefficients, boxes);
            check_out(out, sources, grid.height, grid.width);
            std::uint8_t* to = out.mutable_data();
            without_lock([&] { return masks_to_dense(sources, grid, to); });
        },
        py::arg("out").noconvert(), py::arg("prototypes"), py::arg("coefficients").noconvert(),
        py::arg("boxes").noconvert(), py::arg("grid"));

    module.def(
        "find_contours",
        [](const ByteArray& mask, bool all_contours) {
            const DenseMask view = view_of_mask(mask);
            Polygons polygons;
            without_lock([&] { return find_contours(view, choice_of(all_contours), &polygons); });
            return as_tuple(std::move(polygons));
        },
        py::arg("mask").noconvert(), py::arg("all_contours"));

    module.def(
        "encode_run_lengths",
        [](const ByteArray& mask) {
            const DenseMask view = view_of_mask(mask);
            RunLengths lengths;
            without_lock([&] { return encode_run_lengths(view, &lengths); });
            return as_tuple(std::move(lengths));
        },
        py::arg("mask").noconvert());

    module.def(
        "decode_run_lengths_into",
        [](ByteArray& out, const std::string& counts) {
            if (out.ndim() != 2) throw py::value_error("out must be uint8 [height, width], contiguous");
            std::uint8_t* to = out.mutable_data();
            const std::int64_t height = out.shape(0), width = out.shape(1);
            without_lock([&] { return decode_run_lengths(counts, height, width, to); });
        },
        py::arg("out").noconvert(), py::arg("counts"));
}

}  // namespace rfkernels::bindings
