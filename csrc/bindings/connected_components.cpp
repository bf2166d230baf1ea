#include "rfkernels/connected_components.h"

#include <string>
#include <tuple>

#include "common.h"
#include "on_device.h"

namespace rfkernels::bindings {
namespace {

template <typename Element>
using Array = py::array_t<Element, py::array::c_style>;

MaskStackSize size_of(const py::array& array, const char* name) {
    if (array.ndim() != 3) {
        throw py::value_error(std::string(name) + " has " + std::to_string(array.ndim()) +
                              " axes; give [count, height, width]");
    }
    return MaskStackSize{array.shape(0), array.shape(1), array.shape(2)};
}

/// Memory of as many pixels as there are in `size`.
template <typename Element>
Element* memory_of(Array<Element>& array, const char* name, const MaskStackSize& size) {
    const bool fits = array.ndim() == 3 && array.shape(0) == size.count && array.shape(1) == size.height &&
                      array.shape(2) == size.width;
    if (!fits) {
        throw py::value_error(std::string(name) + " has shape " + std::string(py::str(array.attr("shape"))) +
                              "; give [" + std::to_string(size.count) + ", " + std::to_string(size.height) + ", " +
                              std::to_string(size.width) + "]");
    }
    if (!array.writeable()) throw py::value_error(std::string(name) + " is read-only");
    return array.mutable_data();
}

/// count, height, width
using StackShape = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

MaskStackSize size_of(const StackShape& shape) {
    return MaskStackSize{std::get<0>(shape), std::get<1>(shape), std::get<2>(shape)};
}

/// Arrays on a device are addresses here: `rfkernels.ops` has looked at their types and shapes.
void bind_components_on_device(py::module_& module) {
    module.def(
        "connected_components_scratch_bytes",
        [](const StackShape& shape) { return connected_components_scratch_bytes(size_of(shape)); }, py::arg("shape"),
        "Device memory that connected_components_on_device works in.");
    module.def(
        "connected_components_on_device",
        [](Device& device, std::uintptr_t masks, const StackShape& shape, std::uintptr_t labels, std::uintptr_t areas,
           std::uintptr_t scratch, std::size_t scratch_bytes, std::uintptr_t stream) {
            without_lock([&] {
                return connected_components_on_device(device, static_cast<const std::uint8_t*>(pointer_at(masks)),
                                                      size_of(shape), static_cast<std::int32_t*>(pointer_at(labels)),
                                                      static_cast<std::int32_t*>(pointer_at(areas)),
                                                      pointer_at(scratch), scratch_bytes, pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("masks"), py::arg("shape"), py::arg("labels"), py::arg("areas"), py::arg("scratch"),
        py::arg("scratch_bytes"), py::arg("stream"), "Labels and areas of masks on a device, one launch or four.");
    module.def(
        "clean_mask_logits_scratch_bytes",
        [](const StackShape& shape) { return clean_mask_logits_scratch_bytes(size_of(shape)); }, py::arg("shape"),
        "Device memory that clean_mask_logits_on_device works in.");
    module.def(
        "clean_mask_logits_on_device",
        [](Device& device, std::uintptr_t logits, bool half, const StackShape& shape, std::int64_t max_hole_area,
           std::int64_t max_sprinkle_area, float threshold, std::uintptr_t out, std::uintptr_t scratch,
           std::size_t scratch_bytes, std::uintptr_t stream) {
            without_lock([&] {
                return clean_mask_logits_on_device(
                    device, pointer_at(logits), half ? DataType::kFloat16 : DataType::kFloat32, size_of(shape),
                    CleaningParams{max_hole_area, max_sprinkle_area, threshold}, pointer_at(out), pointer_at(scratch),
                    scratch_bytes, pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("logits"), py::arg("half"), py::arg("shape"), py::arg("max_hole_area"),
        py::arg("max_sprinkle_area"), py::arg("threshold"), py::arg("out"), py::arg("scratch"),
        py::arg("scratch_bytes"), py::arg("stream"), "Cleans logits on a device; `out` may be `logits`.");
}

}  // namespace

void bind_connected_components(py::module_& module) {
    bind_components_on_device(module);
    module.def(
        "connected_components_into",
        [](Array<std::int32_t>& labels, Array<std::int32_t>& areas, const Array<std::uint8_t>& masks) {
            const MaskStackSize size = size_of(masks, "masks");
            std::int32_t* to_labels = memory_of(labels, "labels", size);
            std::int32_t* to_areas = memory_of(areas, "areas", size);
            const std::uint8_t* from = masks.data();
            Status status;
            {
                py::gil_scoped_release released;
                status = connected_components(from, size, to_labels, to_areas);
            }
            raise_if_failed(status);
        },
        py::arg("labels").noconvert(), py::arg("areas").noconvert(), py::arg("masks").noconvert(),
        "Which pixels of each mask hang together; a label is the number of a component's first pixel, from 1.");
    module.def(
        "clean_mask_logits_into",
        [](Array<float>& out, const Array<float>& logits, std::int64_t max_hole_area, std::int64_t max_sprinkle_area,
           float threshold) {
            const MaskStackSize size = size_of(logits, "logits");
            float* to = memory_of(out, "out", size);
            const float* from = logits.data();
            Status status;
            {
                py::gil_scoped_release released;
                status = clean_mask_logits(from, size, CleaningParams{max_hole_area, max_sprinkle_area, threshold}, to);
            }
            raise_if_failed(status);
        },
        py::arg("out").noconvert(), py::arg("logits").noconvert(), py::arg("max_hole_area"),
        py::arg("max_sprinkle_area"), py::arg("threshold"),
        "Fills small holes of masks that are logits, and takes small sprinkles away; `out` may be `logits`.");
}

}  // namespace rfkernels::bindings
