#include <string>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "on_device.h"
#include "rfkernels/keypoints.h"

namespace rfkernels::bindings {

void bind_keypoints_on_device(py::module_& module) {
    module.def("keypoint_descriptor_bytes", &keypoint_descriptor_bytes, py::arg("image_count"),
               "Bytes that describe_keypoints writes.");
    module.def(
        "describe_keypoints",
        [](py::array_t<std::uint8_t> descriptors, const py::sequence& placements, const py::sequence& image_sizes,
           std::int64_t dimensions, float keypoint_confidence, bool whole_pixels) {
            const std::vector<ImageTarget> images = read_targets(placements, image_sizes);
            KeypointParams params;
            params.dimensions = dimensions;
            params.confidence = keypoint_confidence;
            params.convention = whole_pixels ? BoxConvention::kV2 : BoxConvention::kUltralytics;
            raise_if_failed(describe_keypoints(images.data(), static_cast<std::int64_t>(images.size()), params,
                                               descriptors.mutable_data(),
                                               static_cast<std::size_t>(descriptors.size())));
        },
        py::arg("descriptors").noconvert(), py::arg("placements"), py::arg("image_sizes"), py::arg("dimensions"),
        py::arg("keypoint_confidence"), py::arg("whole_pixels"), "What keypoints on a device read, into host memory.");
    module.def(
        "keypoints_from_heads_on_device",
        [](Device& device, const std::vector<py::tuple>& heads, const std::vector<std::int64_t>& strides,
           std::int64_t dimensions, std::uintptr_t descriptors, const py::tuple& anchor_indices,
           const py::tuple& counts, const py::tuple& points, std::uintptr_t stream) {
            if (heads.size() != strides.size() || heads.empty()) {
                throw py::value_error("heads has " + std::to_string(heads.size()) + " levels, strides has " +
                                      std::to_string(strides.size()) + " entries; give one for each level");
            }
            std::vector<KeypointLevel> levels;
            for (std::size_t i = 0; i < heads.size(); ++i) {
                levels.push_back(KeypointLevel{device_view(heads[i], "heads[" + std::to_string(i) + "]"), strides[i]});
            }
            const TensorView anchors = device_view(anchor_indices, "anchor_indices");
            const std::int64_t images = anchors.shape[0];
            const std::int64_t capacity = anchors.rank == 2 ? anchors.shape[1] : 0;
            const std::int64_t values = dimensions > 0 ? levels[0].keypoints.shape[1] / dimensions : 0;
            DeviceChosenAnchors chosen;
            chosen.anchor_indices = packed_device_array<std::int32_t>(anchor_indices, "anchor_indices",
                                                                      DataType::kInt32, {images, capacity});
            chosen.counts = packed_device_array<std::int32_t>(counts, "counts", DataType::kInt32, {images});
            chosen.capacity = capacity;
            float* const out =
                packed_device_array<float>(points, "points", DataType::kFloat32, {images, capacity, values, 3});
            without_lock([&] {
                return keypoints_from_heads_on_device(device, levels.data(), static_cast<std::int64_t>(levels.size()),
                                                      dimensions, pointer_at(descriptors), chosen, out,
                                                      pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("heads"), py::arg("strides"), py::arg("dimensions"), py::arg("descriptors"),
        py::arg("anchor_indices"), py::arg("counts"), py::arg("points"), py::arg("stream"),
        "Keypoints of anchors that the device has chosen, one launch.");
}

}  // namespace rfkernels::bindings
