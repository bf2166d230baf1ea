#include "rfkernels/neighbourhoods.h"

#include <string>

#include "common.h"

namespace rfkernels::bindings {
namespace {

using IntArray = py::array_t<std::int32_t, py::array::c_style>;

/// Memory of an array [rows, 9] that may be written to.
std::int32_t* rows_of(IntArray* array, const char* name, py::ssize_t fewest) {
    if (array->ndim() != 2 || array->shape(1) != kNeighbours || array->shape(0) < fewest) {
        throw py::value_error(std::string(name) + " has shape " + std::string(py::str(array->attr("shape"))) +
                              "; give [" + std::to_string(fewest) + " or more, 9]");
    }
    if (!array->writeable()) throw py::value_error(std::string(name) + " is read-only");
    return array->mutable_data();
}

}  // namespace

void bind_neighbourhoods(py::module_& module) {
    module.def(
        "write_neighbourhoods",
        [](const IntArray& pixels, std::int64_t height, std::int64_t width, std::int32_t first_row,
           std::int32_t outside_row, IntArray outer, IntArray inner) {
            if (pixels.ndim() != 1) throw py::value_error("pixels must have one axis");
            const FeatureGrid grid{height, width, first_row, outside_row};
            std::int32_t* outer_rows = rows_of(&outer, "outer", 0);
            std::int32_t* inner_rows = rows_of(&inner, "inner", pixels.size());
            std::int64_t needed = 0;
            Status status;
            {
                py::gil_scoped_release released;
                status = write_neighbourhoods(pixels.data(), pixels.size(), grid, outer_rows, outer.shape(0),
                                              inner_rows, &needed);
            }
            raise_if_failed(status);
            return needed;
        },
        py::arg("pixels").noconvert(), py::arg("height"), py::arg("width"), py::arg("first_row"),
        py::arg("outside_row"), py::arg("outer").noconvert(), py::arg("inner").noconvert(),
        "Rows that two 3 x 3 convolutions need; returns how many of outer are written.");
}

}  // namespace rfkernels::bindings
