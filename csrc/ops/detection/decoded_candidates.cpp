#include "decoded_candidates.h"

#include <algorithm>
#include <cmath>

#include "suppression.h"

namespace rfkernels {
namespace {

float map_back(float network, double pad, double scale, double crop_offset, std::int64_t size,
               BoxConvention convention) {
    float position = (network - static_cast<float>(pad)) / static_cast<float>(scale) + static_cast<float>(crop_offset);
    position = std::min(std::max(position, 0.0f), static_cast<float>(size));
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
    const Placement& placement = image.placement;
    const double pads[2] = {static_cast<double>(placement.left), static_cast<double>(placement.top)};
    const double scales[2] = {placement.scale_x, placement.scale_y};
    const double crops[2] = {static_cast<double>(placement.crop.x), static_cast<double>(placement.crop.y)};
    const std::int64_t sizes[2] = {image.image_width, image.image_height};
    for (const std::int32_t index : kept.indices) {
        if (!is_wanted(params, candidates.class_ids[index])) continue;
        for (int coordinate = 0; coordinate < 4; ++coordinate) {
            const float network = candidates.boxes[4 * static_cast<std::size_t>(index) + coordinate];
            const int axis = coordinate % 2;
            result.network_boxes.push_back(network);
            result.boxes.push_back(
                map_back(network, pads[axis], scales[axis], crops[axis], sizes[axis], params.box_convention));
        }
        result.scores.push_back(candidates.scores[index]);
        result.class_ids.push_back(candidates.class_ids[index]);
        result.anchor_indices.push_back(candidates.anchors[index]);
    }
    return result;
}

}  // namespace rfkernels
