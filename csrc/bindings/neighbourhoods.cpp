#include "rfkernels/neighbourhoods.h"

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common.h"

namespace rfkernels::bindings {
namespace {

using IntArray = py::array_t<std::int32_t, py::array::c_style>;
/// height, width, first_row, outside_row
using GivenGrid = std::tuple<std::int64_t, std::int64_t, std::int32_t, std::int32_t>;

/// An array int32 [rows, 9] that may be written to.
IntArray rows_of(const py::object& object, const char* name) {
    if (!IntArray::check_(object)) {
        throw py::value_error(std::string(name) + " holds no C-contiguous array of int32; give such arrays [n, 9]");
    }
    auto array = py::reinterpret_borrow<IntArray>(object);
    if (array.ndim() != 2 || array.shape(1) != kNeighbours) {
        throw py::value_error(std::string(name) + " has shape " + std::string(py::str(array.attr("shape"))) +
                              "; give [n, 9]");
    }
    if (!array.writeable()) throw py::value_error(std::string(name) + " is read-only");
    return array;
}

}  // namespace

void bind_neighbourhoods(py::module_& module) {
    module.def(
        "write_neighbourhoods",
        [](const IntArray& pixels, const std::vector<std::int64_t>& counts, const std::vector<GivenGrid>& given,
           const py::sequence& outer, const py::sequence& inner,
           const py::array_t<std::int64_t, py::array::c_style>& row_counts) {
            if (counts.size() != given.size() || outer.size() != given.size() || inner.size() != given.size()) {
                throw py::value_error("grids has " + std::to_string(given.size()) + " entries, counts " +
                                      std::to_string(counts.size()) + ", outer " + std::to_string(outer.size()) +
                                      ", inner " + std::to_string(inner.size()) + "; give one of each for every grid");
            }
            if (row_counts.ndim() != 1) throw py::value_error("row_counts must have one axis");
            std::vector<FeatureGrid> grids;
            std::vector<Neighbourhoods> results(given.size());
            // Kept here: without the interpreter's lock another thread may empty the lists.
            std::vector<IntArray> kept;
            // Counts are compared one by one, so that no sum of them can overflow.
            std::int64_t left = pixels.ndim() == 1 ? pixels.shape(0) : -1;
            for (std::size_t i = 0; i < given.size(); ++i) {
                const auto& [height, width, first_row, outside_row] = given[i];
                grids.push_back(FeatureGrid{height, width, first_row, outside_row});
                kept.push_back(rows_of(outer[i], "outer"));
                results[i].outer = kept.back().mutable_data();
                results[i].outer_capacity = kept.back().shape(0);
                kept.push_back(rows_of(inner[i], "inner"));
                results[i].inner = kept.back().mutable_data();
                results[i].inner_capacity = kept.back().shape(0);
                left = counts[i] < 0 || counts[i] > left ? -1 : left - counts[i];
            }
            if (left != 0) throw py::value_error("pixels must be [n], and counts add up to n");
            Status status;
            {
                py::gil_scoped_release released;
                status = write_neighbourhoods(pixels.data(), counts.data(), grids.data(),
                                              static_cast<std::int64_t>(grids.size()),
                                              RowCounts{row_counts.data(), row_counts.size()}, results.data());
            }
            raise_if_failed(status);
            py::list written;
            for (const Neighbourhoods& result : results) {
                written.append(py::make_tuple(result.outer_count, result.inner_count));
            }
            return written;
        },
        py::arg("pixels").noconvert(), py::arg("counts"), py::arg("grids"), py::arg("outer"), py::arg("inner"),
        py::arg("row_counts").noconvert(),
        "Rows that two 3 x 3 convolutions need; returns how many of outer and inner are written for each grid.");
}

}  // namespace rfkernels::bindings
