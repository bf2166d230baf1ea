#pragma once

#include <cstdint>
#include <optional>

#include "common.h"
#include "rfkernels/detection.h"

namespace rfkernels::bindings {

using FloatArray = py::array_t<float, py::array::c_style>;
using ClassConfidences = std::optional<FloatArray>;
using WantedClasses = std::optional<py::array_t<std::uint8_t, py::array::c_style>>;

/// In detection_on_device.cpp.
void bind_detection_on_device(py::module_& module);

// The arrays that the params point into are arguments of the call and outlive it.
inline DetectionParams read_params(float confidence, const ClassConfidences& class_confidences,
                                   const WantedClasses& wanted_classes, bool filter_before_suppression,
                                   bool whole_pixels, double iou_threshold, bool class_agnostic,
                                   std::int64_t max_detections) {
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

}  // namespace rfkernels::bindings
