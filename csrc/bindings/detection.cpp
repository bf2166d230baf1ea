#include "rfkernels/detection.h"

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "detection_params.h"

namespace rfkernels::bindings {
namespace {

template <typename T>
py::array_t<T> as_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array_t<float> as_boxes(const std::vector<float>& values) {
    return py::array_t<float>({static_cast<py::ssize_t>(values.size() / 4), py::ssize_t{4}}, values.data());
}

py::list as_tuples(const std::vector<Detections>& results) {
    py::list images;
    for (const Detections& found : results) {
        images.append(py::make_tuple(as_boxes(found.boxes), as_array(found.scores), as_array(found.class_ids),
                                     as_array(found.anchor_indices), as_boxes(found.network_boxes), found.overflowed));
    }
    return images;
}

using IntArray = py::array_t<std::int32_t, py::array::c_style>;
/// anchor_indices, scores, class_ids
using GivenCandidates = std::tuple<IntArray, FloatArray, IntArray>;

CandidateBoxes read_candidates(const GivenCandidates& given, const std::string& name) {
    const auto& [anchor_indices, scores, class_ids] = given;
    const py::ssize_t count = anchor_indices.size();
    const bool agree = anchor_indices.ndim() == 1 && scores.ndim() == 1 && class_ids.ndim() == 1 &&
                       scores.size() == count && class_ids.size() == count;
    if (!agree) throw py::value_error(name + " has arrays of different lengths; give [n] each");
    CandidateBoxes candidates;
    candidates.anchor_indices = anchor_indices.data();
    candidates.scores = scores.data();
    candidates.class_ids = class_ids.data();
    candidates.count = count;
    return candidates;
}

}  // namespace

void bind_detection(py::module_& module) {
    bind_detection_on_device(module);

    module.def(
        "detect_from_heads",
        [](const std::vector<std::pair<py::array, py::array>>& heads, const std::vector<std::int64_t>& strides,
           const py::sequence& placements, const py::sequence& image_sizes, float confidence,
           const ClassConfidences& class_confidences, const WantedClasses& wanted_classes,
           bool filter_before_suppression, bool whole_pixels, double iou_threshold, bool class_agnostic,
           std::int64_t max_detections) {
            if (heads.size() != strides.size()) {
                throw py::value_error("heads has " + std::to_string(heads.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<HeadLevel> levels;
            for (std::size_t i = 0; i < heads.size(); ++i) {
                const std::string name = "heads[" + std::to_string(i) + "]";
                levels.push_back(HeadLevel{view_of_values(heads[i].first, name + " box", 4),
                                           view_of_values(heads[i].second, name + " classes", 4), strides[i]});
            }
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            const DetectionParams params =
                read_params(confidence, class_confidences, wanted_classes, filter_before_suppression, whole_pixels,
                            iou_threshold, class_agnostic, max_detections);
            std::vector<Detections> results;
            Status status;
            {
                py::gil_scoped_release released;
                status = detect_from_heads(levels.data(), static_cast<std::int64_t>(levels.size()), images.data(),
                                           static_cast<std::int64_t>(images.size()), params, &results);
            }
            raise_if_failed(status);
            return as_tuples(results);
        },
        py::arg("heads"), py::arg("strides"), py::arg("placements"), py::arg("image_sizes"), py::arg("confidence"),
        py::arg("class_confidences"), py::arg("wanted_classes"), py::arg("filter_before_suppression"),
        py::arg("whole_pixels"), py::arg("iou_threshold"), py::arg("class_agnostic"), py::arg("max_detections"));

    module.def(
        "select_candidates",
        [](const std::vector<py::array>& classes, float confidence, const ClassConfidences& class_confidences,
           const WantedClasses& wanted_classes, bool filter_before_suppression) {
            std::vector<TensorView> views;
            for (std::size_t i = 0; i < classes.size(); ++i) {
                views.push_back(view_of_values(classes[i], "classes[" + std::to_string(i) + "]", 4));
            }
            const DetectionParams params = read_params(confidence, class_confidences, wanted_classes,
                                                       filter_before_suppression, true, 0.0, false, 0);
            std::vector<Candidates> results;
            Status status;
            {
                py::gil_scoped_release released;
                status = select_candidates(views.data(), static_cast<std::int64_t>(views.size()), params, &results);
            }
            raise_if_failed(status);
            py::list images;
            for (const Candidates& found : results) {
                images.append(py::make_tuple(as_array(found.anchor_indices), as_array(found.scores),
                                             as_array(found.class_ids), py::tuple(py::cast(found.level_counts))));
            }
            return images;
        },
        py::arg("classes"), py::arg("confidence"), py::arg("class_confidences"), py::arg("wanted_classes"),
        py::arg("filter_before_suppression"));

    module.def(
        "detect_from_candidates",
        [](const std::vector<GivenCandidates>& candidates, const std::vector<std::vector<py::array>>& boxes,
           const std::vector<std::pair<std::int64_t, std::int64_t>>& grids, const std::vector<std::int64_t>& strides,
           const py::sequence& placements, const py::sequence& image_sizes, const WantedClasses& wanted_classes,
           bool whole_pixels, double iou_threshold, bool class_agnostic, std::int64_t max_detections) {
            if (grids.size() != strides.size()) {
                throw py::value_error("grids has " + std::to_string(grids.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<AnchorGrid> levels;
            for (std::size_t i = 0; i < grids.size(); ++i) {
                levels.push_back(AnchorGrid{grids[i].first, grids[i].second, strides[i]});
            }
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            if (candidates.size() != images.size() || boxes.size() != images.size()) {
                throw py::value_error("candidates has " + std::to_string(candidates.size()) + " entries, boxes " +
                                      std::to_string(boxes.size()) + ", placements " + std::to_string(images.size()) +
                                      "; give one for each image");
            }
            std::vector<std::vector<TensorView>> views(images.size());
            std::vector<CandidateBoxes> given;
            for (std::size_t i = 0; i < images.size(); ++i) {
                given.push_back(read_candidates(candidates[i], "candidates[" + std::to_string(i) + "]"));
                const std::string name = "boxes[" + std::to_string(i) + "]";
                if (boxes[i].size() != levels.size()) {
                    throw py::value_error(name + " has " + std::to_string(boxes[i].size()) + " levels, grids has " +
                                          std::to_string(levels.size()) + "; give one array for each level");
                }
                for (std::size_t level = 0; level < levels.size(); ++level) {
                    views[i].push_back(view_of_values(boxes[i][level], name + "[" + std::to_string(level) + "]", 2));
                }
                given[i].boxes = views[i].data();
            }
            const DetectionParams params = read_params(0.0f, std::nullopt, wanted_classes, false, whole_pixels,
                                                       iou_threshold, class_agnostic, max_detections);
            std::vector<Detections> results;
            Status status;
            {
                py::gil_scoped_release released;
                status =
                    detect_from_candidates(levels.data(), static_cast<std::int64_t>(levels.size()), given.data(),
                                           images.data(), static_cast<std::int64_t>(images.size()), params, &results);
            }
            raise_if_failed(status);
            return as_tuples(results);
        },
        py::arg("candidates"), py::arg("boxes"), py::arg("grids"), py::arg("strides"), py::arg("placements"),
        py::arg("image_sizes"), py::arg("wanted_classes"), py::arg("whole_pixels"), py::arg("iou_threshold"),
        py::arg("class_agnostic"), py::arg("max_detections"));

    module.def(
        "detect_from_decoded",
        [](const py::array& prediction, const py::sequence& placements, const py::sequence& image_sizes,
           float confidence, const ClassConfidences& class_confidences, const WantedClasses& wanted_classes,
           bool filter_before_suppression, bool whole_pixels, double iou_threshold, bool class_agnostic,
           std::int64_t max_detections) {
            const TensorView view = view_of_values(prediction, "prediction", 3);
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            const DetectionParams params =
                read_params(confidence, class_confidences, wanted_classes, filter_before_suppression, whole_pixels,
                            iou_threshold, class_agnostic, max_detections);
            std::vector<Detections> results;
            Status status;
            {
                py::gil_scoped_release released;
                status = detect_from_decoded(view, images.data(), static_cast<std::int64_t>(images.size()), params,
                                             &results);
            }
            raise_if_failed(status);
            return as_tuples(results);
        },
        py::arg("prediction"), py::arg("placements"), py::arg("image_sizes"), py::arg("confidence"),
        py::arg("class_confidences"), py::arg("wanted_classes"), py::arg("filter_before_suppression"),
        py::arg("whole_pixels"), py::arg("iou_threshold"), py::arg("class_agnostic"), py::arg("max_detections"));

    module.def(
        "nms",
        [](const FloatArray& boxes, const FloatArray& scores,
           const std::optional<py::array_t<std::int32_t, py::array::c_style>>& class_ids, double iou_threshold,
           bool class_agnostic, std::int64_t max_detections) {
            const bool agree = boxes.ndim() == 2 && boxes.shape(1) == 4 && scores.ndim() == 1 &&
                               scores.shape(0) == boxes.shape(0) &&
                               (!class_ids || (class_ids->ndim() == 1 && class_ids->shape(0) == boxes.shape(0)));
            if (!agree) throw py::value_error("boxes must be [n, 4], scores and class_ids [n]");
            SuppressionParams params;
            params.iou_threshold = iou_threshold;
            params.class_agnostic = class_agnostic;
            params.max_detections = max_detections;
            Kept kept;
            Status status;
            {
                py::gil_scoped_release released;
                status = nms(boxes.data(), scores.data(), class_ids ? class_ids->data() : nullptr, boxes.shape(0),
                             params, &kept);
            }
            raise_if_failed(status);
            return py::make_tuple(as_array(kept.indices), kept.overflowed);
        },
        py::arg("boxes").noconvert(), py::arg("scores").noconvert(), py::arg("class_ids").noconvert(),
        py::arg("iou_threshold"), py::arg("class_agnostic"), py::arg("max_detections"));
}

}  // namespace rfkernels::bindings
