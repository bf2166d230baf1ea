#include "rfkernels/keypoints.h"

#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "common.h"

namespace rfkernels::bindings {
namespace {

using IntArray = py::array_t<std::int32_t, py::array::c_style>;

/// The arrays are arguments of the call and outlive it.
std::vector<ChosenAnchors> read_anchors(const std::vector<IntArray>& given, std::size_t image_count) {
    if (given.size() != image_count) {
        throw py::value_error("anchor_indices has " + std::to_string(given.size()) + " entries, placements " +
                              std::to_string(image_count) + "; give one for each image");
    }
    std::vector<ChosenAnchors> chosen;
    for (std::size_t i = 0; i < given.size(); ++i) {
        if (given[i].ndim() != 1) {
            throw py::value_error("anchor_indices[" + std::to_string(i) + "] has " + std::to_string(given[i].ndim()) +
                                  " axes; give [n]");
        }
        chosen.push_back(ChosenAnchors{given[i].data(), given[i].shape(0)});
    }
    return chosen;
}

KeypointParams read_params(std::int64_t dimensions, float keypoint_confidence, bool whole_pixels) {
    return KeypointParams{dimensions, keypoint_confidence,
                          whole_pixels ? BoxConvention::kV2 : BoxConvention::kUltralytics};
}

py::list as_arrays(const std::vector<Keypoints>& results, const std::vector<ChosenAnchors>& chosen) {
    py::list images;
    for (std::size_t i = 0; i < results.size(); ++i) {
        images.append(py::array_t<float>({static_cast<py::ssize_t>(chosen[i].count),
                                          static_cast<py::ssize_t>(results[i].keypoint_count), py::ssize_t{3}},
                                         results[i].points.data()));
    }
    return images;
}

}  // namespace

void bind_keypoints(py::module_& module) {
    bind_keypoints_on_device(module);
    module.def(
        "keypoints_from_heads",
        [](const std::vector<py::array>& heads, const std::vector<std::int64_t>& strides,
           const std::vector<IntArray>& anchor_indices, const py::sequence& placements, const py::sequence& image_sizes,
           std::int64_t dimensions, float keypoint_confidence, bool whole_pixels) {
            if (heads.size() != strides.size()) {
                throw py::value_error("heads has " + std::to_string(heads.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<KeypointLevel> levels;
            for (std::size_t i = 0; i < heads.size(); ++i) {
                levels.push_back(
                    KeypointLevel{view_of_values(heads[i], "heads[" + std::to_string(i) + "]", 4), strides[i]});
            }
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            const std::vector<ChosenAnchors> chosen = read_anchors(anchor_indices, images.size());
            const KeypointParams params = read_params(dimensions, keypoint_confidence, whole_pixels);
            std::vector<Keypoints> results;
            Status status;
            {
                py::gil_scoped_release released;
                status =
                    keypoints_from_heads(levels.data(), static_cast<std::int64_t>(levels.size()), chosen.data(),
                                         images.data(), static_cast<std::int64_t>(images.size()), params, &results);
            }
            raise_if_failed(status);
            return as_arrays(results, chosen);
        },
        py::arg("heads"), py::arg("strides"), py::arg("anchor_indices"), py::arg("placements"), py::arg("image_sizes"),
        py::arg("dimensions"), py::arg("keypoint_confidence"), py::arg("whole_pixels"));

    module.def(
        "keypoints_from_rows",
        [](const std::vector<py::array>& rows, const std::vector<IntArray>& anchor_indices,
           const std::vector<std::pair<std::int64_t, std::int64_t>>& grids, const std::vector<std::int64_t>& strides,
           const py::sequence& placements, const py::sequence& image_sizes, std::int64_t dimensions,
           float keypoint_confidence, bool whole_pixels) {
            if (grids.size() != strides.size()) {
                throw py::value_error("grids has " + std::to_string(grids.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<AnchorGrid> levels;
            for (std::size_t i = 0; i < grids.size(); ++i) {
                levels.push_back(AnchorGrid{grids[i].first, grids[i].second, strides[i]});
            }
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            const std::vector<ChosenAnchors> chosen = read_anchors(anchor_indices, images.size());
            if (rows.size() != images.size()) {
                throw py::value_error("rows has " + std::to_string(rows.size()) + " entries, placements " +
                                      std::to_string(images.size()) + "; give one for each image");
            }
            std::vector<TensorView> views;
            for (std::size_t i = 0; i < rows.size(); ++i) {
                views.push_back(view_of_values(rows[i], "rows[" + std::to_string(i) + "]", 2));
            }
            const KeypointParams params = read_params(dimensions, keypoint_confidence, whole_pixels);
            std::vector<Keypoints> results;
            Status status;
            {
                py::gil_scoped_release released;
                status = keypoints_from_rows(levels.data(), static_cast<std::int64_t>(levels.size()), views.data(),
                                             chosen.data(), images.data(), static_cast<std::int64_t>(images.size()),
                                             params, &results);
            }
            raise_if_failed(status);
            return as_arrays(results, chosen);
        },
        py::arg("rows"), py::arg("anchor_indices"), py::arg("grids"), py::arg("strides"), py::arg("placements"),
        py::arg("image_sizes"), py::arg("dimensions"), py::arg("keypoint_confidence"), py::arg("whole_pixels"));
}

}  // namespace rfkernels::bindings
