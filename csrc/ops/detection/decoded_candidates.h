#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "rfkernels/detection.h"

namespace rfkernels {

/// The candidates of one image with their boxes, by ascending anchor.
struct DecodedCandidates {
    std::vector<float> boxes;
    std::vector<float> scores;
    std::vector<std::int32_t> class_ids;
    std::vector<std::int32_t> anchors;

    void clear() {
        boxes.clear();
        scores.clear();
        class_ids.clear();
        anchors.clear();
    }

    void add(float x1, float y1, float x2, float y2, float score, std::int32_t class_id, std::int64_t anchor) {
        boxes.insert(boxes.end(), {x1, y1, x2, y2});
        scores.push_back(score);
        class_ids.push_back(class_id);
        anchors.push_back(static_cast<std::int32_t>(anchor));
    }
};

/// Of a class that `params.wanted_classes` flags; one beyond them is not wanted.
bool is_wanted(const DetectionParams& params, std::int32_t class_id);

/// Suppression, the class filter, and the boxes back in the image. Params and image are checked; may throw
/// std::bad_alloc.
Detections finish(const DetectionKernels& kernels, const DecodedCandidates& candidates, const ImageTarget& image,
                  const DetectionParams& params);

}  // namespace rfkernels
