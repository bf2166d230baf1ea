#include "rfkernels/connected_components.h"

#include <string>

#include "common.h"

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

}  // namespace

void bind_connected_components(py::module_& module) {
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
