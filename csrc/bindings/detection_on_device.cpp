#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "detection_params.h"
#include "on_device.h"
#include "rfkernels/detection.h"

namespace rfkernels::bindings {
namespace {

DeviceDetections read_results(const py::dict& results) {
    const TensorView scores = device_view(results["scores"].cast<py::tuple>(), "scores");
    if (scores.rank != 2) throw py::value_error("scores must be [images, max_detections]");
    const std::int64_t images = scores.shape[0];
    const std::int64_t most = scores.shape[1];
    DeviceDetections found;
    found.max_detections = most;
    found.boxes =
        packed_device_array<float>(results["boxes"].cast<py::tuple>(), "boxes", DataType::kFloat32, {images, most, 4});
    found.network_boxes = packed_device_array<float>(results["network_boxes"].cast<py::tuple>(), "network_boxes",
                                                     DataType::kFloat32, {images, most, 4});
    found.scores =
        packed_device_array<float>(results["scores"].cast<py::tuple>(), "scores", DataType::kFloat32, {images, most});
    found.class_ids = packed_device_array<std::int32_t>(results["class_ids"].cast<py::tuple>(), "class_ids",
                                                        DataType::kInt32, {images, most});
    found.anchor_indices = packed_device_array<std::int32_t>(results["anchor_indices"].cast<py::tuple>(),
                                                             "anchor_indices", DataType::kInt32, {images, most});
    found.counts =
        packed_device_array<std::int32_t>(results["counts"].cast<py::tuple>(), "counts", DataType::kInt32, {images});
    found.flags = reinterpret_cast<std::uint32_t*>(
        packed_device_array<std::int32_t>(results["flags"].cast<py::tuple>(), "flags", DataType::kInt32, {images}));
    return found;
}

SuppressionParams suppression_of(double iou_threshold, bool class_agnostic, std::int64_t max_detections) {
    SuppressionParams params;
    params.iou_threshold = iou_threshold;
    params.class_agnostic = class_agnostic;
    params.max_detections = max_detections;
    return params;
}

}  // namespace

void bind_detection_on_device(py::module_& module) {
    module.def("detection_descriptor_bytes", &detection_descriptor_bytes, py::arg("image_count"),
               py::arg("class_count"), "Bytes that describe_detection writes.");
    module.def("detection_scratch_bytes", &detection_scratch_bytes, py::arg("image_count"), py::arg("anchor_count"),
               py::arg("max_detections"), "Device memory that detection works in.");
    module.def(
        "describe_detection",
        [](py::array_t<std::uint8_t> descriptors, const py::sequence& placements, const py::sequence& image_sizes,
           std::int64_t class_count, float confidence, const ClassConfidences& class_confidences,
           const WantedClasses& wanted_classes, bool filter_before_suppression, bool whole_pixels, double iou_threshold,
           bool class_agnostic, std::int64_t max_detections) {
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            const DetectionParams params =
                read_params(confidence, class_confidences, wanted_classes, filter_before_suppression, whole_pixels,
                            iou_threshold, class_agnostic, max_detections);
            raise_if_failed(describe_detection(images.data(), static_cast<std::int64_t>(images.size()), class_count,
                                               params, descriptors.mutable_data(),
                                               static_cast<std::size_t>(descriptors.size())));
        },
        py::arg("descriptors").noconvert(), py::arg("placements"), py::arg("image_sizes"), py::arg("class_count"),
        py::arg("confidence"), py::arg("class_confidences"), py::arg("wanted_classes"),
        py::arg("filter_before_suppression"), py::arg("whole_pixels"), py::arg("iou_threshold"),
        py::arg("class_agnostic"), py::arg("max_detections"), "What detection on a device reads, into host memory.");
    module.def(
        "detect_from_heads_on_device",
        [](Device& device, const std::vector<std::pair<py::tuple, py::tuple>>& heads,
           const std::vector<std::int64_t>& strides, std::uintptr_t descriptors, const py::dict& results,
           std::uintptr_t scratch, std::uintptr_t stream) {
            if (heads.size() != strides.size()) {
                throw py::value_error("heads has " + std::to_string(heads.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<HeadLevel> levels;
            for (std::size_t i = 0; i < heads.size(); ++i) {
                const std::string name = "heads[" + std::to_string(i) + "]";
                levels.push_back(HeadLevel{device_view(heads[i].first, name + " box"),
                                           device_view(heads[i].second, name + " classes"), strides[i]});
            }
            const DeviceDetections found = read_results(results);
            without_lock([&] {
                return detect_from_heads_on_device(device, levels.data(), static_cast<std::int64_t>(levels.size()),
                                                   pointer_at(descriptors), found, pointer_at(scratch),
                                                   pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("heads"), py::arg("strides"), py::arg("descriptors"), py::arg("results"),
        py::arg("scratch"), py::arg("stream"), "Raw heads to detections on a device, one launch.");
    module.def(
        "detect_from_decoded_on_device",
        [](Device& device, const py::tuple& prediction, std::uintptr_t descriptors, const py::dict& results,
           std::uintptr_t scratch, std::uintptr_t stream) {
            const TensorView view = device_view(prediction, "prediction");
            const DeviceDetections found = read_results(results);
            without_lock([&] {
                return detect_from_decoded_on_device(device, view, pointer_at(descriptors), found, pointer_at(scratch),
                                                     pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("prediction"), py::arg("descriptors"), py::arg("results"), py::arg("scratch"),
        py::arg("stream"), "Decoded outputs to detections on a device, one launch.");
    module.def(
        "nms_scratch_bytes",
        [](std::int64_t count, std::int64_t max_detections) {
            return nms_scratch_bytes(count, suppression_of(0.0, false, max_detections));
        },
        py::arg("count"), py::arg("max_detections"), "Device memory that nms_on_device works in.");
    module.def(
        "nms_on_device",
        [](Device& device, const py::tuple& boxes, const py::tuple& scores, const std::optional<py::tuple>& class_ids,
           double iou_threshold, bool class_agnostic, std::int64_t max_detections, const py::tuple& indices,
           const py::tuple& count, const py::tuple& flags, std::uintptr_t scratch, std::uintptr_t stream) {
            const std::int64_t box_count = device_view(boxes, "boxes").shape[0];
            const SuppressionParams params = suppression_of(iou_threshold, class_agnostic, max_detections);
            const std::int64_t room = std::min(box_count, std::max<std::int64_t>(max_detections, 0));
            const float* const given_boxes =
                packed_device_array<float>(boxes, "boxes", DataType::kFloat32, {box_count, 4});
            const float* const given_scores =
                packed_device_array<float>(scores, "scores", DataType::kFloat32, {box_count});
            const std::int32_t* const given_classes =
                class_ids ? packed_device_array<std::int32_t>(*class_ids, "class_ids", DataType::kInt32, {box_count})
                          : nullptr;
            DeviceKept kept;
            kept.indices = packed_device_array<std::int32_t>(indices, "indices", DataType::kInt32, {room});
            kept.count = packed_device_array<std::int32_t>(count, "count", DataType::kInt32, {1});
            kept.flags = reinterpret_cast<std::uint32_t*>(
                packed_device_array<std::int32_t>(flags, "flags", DataType::kInt32, {1}));
            without_lock([&] {
                return nms_on_device(device, given_boxes, given_scores, given_classes, box_count, nullptr, params, kept,
                                     pointer_at(scratch), pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("boxes"), py::arg("scores"), py::arg("class_ids"), py::arg("iou_threshold"),
        py::arg("class_agnostic"), py::arg("max_detections"), py::arg("indices"), py::arg("count"), py::arg("flags"),
        py::arg("scratch"), py::arg("stream"), "Suppression of boxes on a device, one launch.");
}

}  // namespace rfkernels::bindings
