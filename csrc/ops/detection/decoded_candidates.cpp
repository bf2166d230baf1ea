#include "decoded_candidates.h"

#include <cmath>

#include "device/image_targets.h"
#include "suppression.h"

namespace rfkernels {
namespace {

float map_back(float network, const AxisBack& axis, BoxConvention convention) {
    const float position = clamped_to_image(axis, position_in_image(axis, network));
    return convention == BoxConvention::kV2 ? std::nearbyint(position) : position;
}

}  // namespace

bool is_wanted(const DetectionParams& params, std::int32_t class_id) {
    return params.wanted_classes == nullptr ||
           (class_id >= 0 && class_id < params.wanted_class_count && params.wanted_classes[class_id] != 0);
}

Detections finish(const DetectionKernels& kernels, const DecodedCandidates& candidates, const ImageTarget& image,
                  const DetectionParams& params) {
    const Kept kept = suppress(kernels, candidates.boxes.data(), candidates.scores.data(), candidates.class_ids.data(),
                               static_cast<std::int64_t>(candidates.scores.size()), params.suppression);
    Detections result;
    result.overflowed = kept.overflowed;
    result.boxes.reserve(4 * kept.indices.size());
    result.network_boxes.reserve(4 * kept.indices.size());
    result.scores.reserve(kept.indices.size());
    result.class_ids.reserve(kept.indices.size());
    result.anchor_indices.reserve(kept.indices.size());
    const AxisBack axes[2] = {x_axis_back(image), y_axis_back(image)};
    for (const std::int32_t index : kept.indices) {
        if (!is_wanted(params, candidates.class_ids[index])) continue;
        for (int coordinate = 0; coordinate < 4; ++coordinate) {
            const float network = candidates.boxes[4 * static_cast<std::size_t>(index) + coordinate];
            result.network_boxes.push_back(network);
            result.boxes.push_back(map_back(network, axes[coordinate % 2], params.box_convention));
        }
        result.scores.push_back(candidates.scores[index]);
        result.class_ids.push_back(candidates.class_ids[index]);
        result.anchor_indices.push_back(candidates.anchors[index]);
    }
    return result;
}

}  // namespace rfkernels
