#pragma once

#include <cstdint>
#include <vector>

#include "rfkernels/detection.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// One scale of a YOLOv8 pose head, the output of its last convolution.
///
/// keypoints [N, K * D, H, W]   channel = point * D + {0: x, 1: y, 2: logit of the confidence, where D is 3}
///
/// Memory and elements as those of `HeadLevel`.
struct KeypointLevel {
    TensorView keypoints;
    std::int64_t stride = 0;  ///< network pixels from an anchor to the next
};

/// The anchors of one image whose keypoints are wanted, in any order: `Detections::anchor_indices`.
struct ChosenAnchors {
    const std::int32_t* anchor_indices = nullptr;  ///< [count] levels in the order given, rows of a level from the top
    std::int64_t count = 0;
};

struct KeypointParams {
    std::int64_t dimensions =
        3;                    ///< D: 3, or 2 where the network says nothing of a point's confidence, which is 1 then
    float confidence = 0.0f;  ///< in [0, 1]; a point of less, strictly, in float32, becomes 0, 0 of confidence 0
    BoxConvention convention = BoxConvention::kV2;
};

/// The keypoints of one image's n chosen anchors.
struct Keypoints {
    std::vector<float> points;  ///< [n, K, 3] x, y in pixels of the original image, confidence
    std::int64_t keypoint_count = 0;
};

/// Raw YOLOv8 pose heads to the keypoints of chosen anchors. For every point of an anchor:
///
///   x, y       = (2 * channel + the anchor's column or row) * stride,    then (x - left) / scale + crop; fp32
///   kV2          not clamped, rounded half to even to whole pixels
///   kUltralytics clamped to the image, fractions kept
///   confidence = sigmoid(channel), the fp32 one of `detect_from_heads`; 0 for a NaN
///
/// A point with a coordinate that is not finite becomes 0, 0 of confidence 0. No result is NaN, infinite or -0.
///
/// levels  [level_count], of equal N and K * D
/// chosen  [image_count], image_count = N
/// images  [image_count]
/// results one for each image; left as they were when the call fails
///
/// Source: inference-models 0.39 (kV2); ultralytics 8.4 (kUltralytics).
///
/// Moves: the chosen anchors' values (4 * K * D bytes each) once, 12 * K bytes of results for each.
Status keypoints_from_heads(const KeypointLevel* levels, std::int64_t level_count, const ChosenAnchors* chosen,
                            const ImageTarget* images, std::int64_t image_count, const KeypointParams& params,
                            std::vector<Keypoints>* results);

/// The same from the same values, for a network whose keypoints are computed for chosen anchors only.
///
/// grids  [grid_count] the levels
/// rows   [image_count] float32 or bfloat16 [m, K * D]: row k is of the k-th chosen anchor, rows beyond are unused
Status keypoints_from_rows(const AnchorGrid* grids, std::int64_t grid_count, const TensorView* rows,
                           const ChosenAnchors* chosen, const ImageTarget* images, std::int64_t image_count,
                           const KeypointParams& params, std::vector<Keypoints>* results);

}  // namespace rfkernels
