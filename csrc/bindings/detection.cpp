#include "rfkernels/detection.h"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "common.h"

namespace rfkernels::bindings {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;

// Columns of the placements array; rfkernels/ops/detection.py writes them.
enum PlacementColumn { kLeft, kTop, kScaleX, kScaleY, kCropX, kCropY, kImageWidth, kImageHeight, kPlacementColumns };

TensorView view_of_float32(const py::array& array, const std::string& name, int rank) {
    if (!py::isinstance<py::array_t<float>>(array)) {
        throw py::value_error(name + " has dtype " + py::str(array.dtype()).cast<std::string>() +
                              "; give float32, in this machine's byte order");
    }
    if (array.ndim() != rank) {
        throw py::value_error(name + " has " + std::to_string(array.ndim()) + " axes; give " + std::to_string(rank));
    }
    TensorView view;
    view.data = const_cast<void*>(array.data());
    view.dtype = DataType::kFloat32;
    view.rank = rank;
    for (int axis = 0; axis < rank; ++axis) {
        view.shape[axis] = array.shape(axis);
        view.strides[axis] = array.strides(axis);
    }
    return view;
}

std::vector<ImageTarget> read_placements(const py::array_t<double, py::array::c_style>& rows) {
    if (rows.ndim() != 2 || rows.shape(1) != kPlacementColumns) {
        throw py::value_error("placements must be float64 [N, 8]");
    }
    std::vector<ImageTarget> images(static_cast<std::size_t>(rows.shape(0)));
    for (std::size_t i = 0; i < images.size(); ++i) {
        const double* row = rows.data(static_cast<py::ssize_t>(i));
        for (const PlacementColumn column : {kLeft, kTop, kCropX, kCropY, kImageWidth, kImageHeight}) {
            if (!(std::fabs(row[column]) < 2147483648.0)) {
                throw py::value_error("placements[" + std::to_string(i) + "] or its image size is not a pixel number");
            }
        }
        Placement& placement = images[i].placement;
        placement.left = static_cast<std::int64_t>(row[kLeft]);
        placement.top = static_cast<std::int64_t>(row[kTop]);
        placement.scale_x = row[kScaleX];
        placement.scale_y = row[kScaleY];
        placement.crop.x = static_cast<std::int64_t>(row[kCropX]);
        placement.crop.y = static_cast<std::int64_t>(row[kCropY]);
        images[i].image_width = static_cast<std::int64_t>(row[kImageWidth]);
        images[i].image_height = static_cast<std::int64_t>(row[kImageHeight]);
    }
    return images;
}

// The arrays that the params point into are arguments of the call and outlive it.
DetectionParams read_params(float confidence, const std::optional<FloatArray>& class_confidences,
                            const std::optional<py::array_t<std::uint8_t, py::array::c_style>>& wanted_classes,
                            bool filter_before_suppression, bool whole_pixels, double iou_threshold,
                            bool class_agnostic, std::int64_t max_detections) {
    DetectionParams params;
    params.confidence = confidence;
    if (class_confidences) {
        params.class_confidences = class_confidences->data();
        params.class_confidence_count = class_confidences->size();
    }
    if (wanted_classes) {
        params.wanted_classes = wanted_classes->data();
        params.wanted_class_count = wanted_classes->size();
    }
    params.class_filter_stage =
        filter_before_suppression ? ClassFilterStage::kBeforeSuppression : ClassFilterStage::kAfterCut;
    params.box_convention = whole_pixels ? BoxConvention::kV2 : BoxConvention::kUltralytics;
    params.suppression.iou_threshold = iou_threshold;
    params.suppression.class_agnostic = class_agnostic;
    params.suppression.max_detections = max_detections;
    return params;
}

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

}  // namespace

void bind_detection(py::module_& module) {
    using Placements = py::array_t<double, py::array::c_style>;
    using ClassConfidences = std::optional<FloatArray>;
    using WantedClasses = std::optional<py::array_t<std::uint8_t, py::array::c_style>>;

    module.def(
        "detect_from_heads",
        [](const std::vector<std::pair<py::array, py::array>>& heads, const std::vector<std::int64_t>& strides,
           const Placements& placements, float confidence, const ClassConfidences& class_confidences,
           const WantedClasses& wanted_classes, bool filter_before_suppression, bool whole_pixels, double iou_threshold,
           bool class_agnostic, std::int64_t max_detections) {
            if (heads.size() != strides.size()) {
                throw py::value_error("heads has " + std::to_string(heads.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<HeadLevel> levels;
            for (std::size_t i = 0; i < heads.size(); ++i) {
                const std::string name = "heads[" + std::to_string(i) + "]";
                levels.push_back(HeadLevel{view_of_float32(heads[i].first, name + " box", 4),
                                           view_of_float32(heads[i].second, name + " classes", 4), strides[i]});
            }
            const std::vector<ImageTarget> images = read_placements(placements);
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
        py::arg("heads"), py::arg("strides"), py::arg("placements").noconvert(), py::arg("confidence"),
        py::arg("class_confidences"), py::arg("wanted_classes"), py::arg("filter_before_suppression"),
        py::arg("whole_pixels"), py::arg("iou_threshold"), py::arg("class_agnostic"), py::arg("max_detections"));

    module.def(
        "detect_from_decoded",
        [](const py::array& prediction, const Placements& placements, float confidence,
           const ClassConfidences& class_confidences, const WantedClasses& wanted_classes,
           bool filter_before_suppression, bool whole_pixels, double iou_threshold, bool class_agnostic,
           std::int64_t max_detections) {
            const TensorView view = view_of_float32(prediction, "prediction", 3);
            const std::vector<ImageTarget> images = read_placements(placements);
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
        py::arg("prediction"), py::arg("placements").noconvert(), py::arg("confidence"), py::arg("class_confidences"),
        py::arg("wanted_classes"), py::arg("filter_before_suppression"), py::arg("whole_pixels"),
        py::arg("iou_threshold"), py::arg("class_agnostic"), py::arg("max_detections"));

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
