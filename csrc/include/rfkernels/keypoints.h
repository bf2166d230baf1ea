#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rfkernels/detection.h"
#include "rfkernels/device.h"
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

// On a device, in two steps, so that a captured graph goes on to serve images of other sizes: what changes from call to
// call are descriptors, which the host writes and whoever calls copies to the device; what the graph keeps is where
// things lie and the shapes of the heads. Which anchors are chosen, and how many, is known to the device alone.

/// Levels that a launch can be given.
constexpr std::int64_t kMostDeviceKeypointLevels = 8;

/// The bytes that the descriptors of a batch take.
std::size_t keypoint_descriptor_bytes(std::int64_t image_count);

/// Writes the descriptors: all of `images` and `params`.
///
/// images       [image_count]
/// descriptors  host memory of at least `keypoint_descriptor_bytes`, 16-byte aligned
///
/// Fails as `keypoints_from_heads` does.
Status describe_keypoints(const ImageTarget* images, std::int64_t image_count, const KeypointParams& params,
                          void* descriptors, std::size_t descriptor_bytes);

/// The anchors of a batch whose keypoints are wanted, as a device has found them.
struct DeviceChosenAnchors {
    const std::int32_t* anchor_indices = nullptr;  ///< [N, capacity] on the device
    const std::int32_t* counts = nullptr;          ///< [N] on the device; more than capacity is taken as capacity
    std::int64_t capacity = 0;
};

/// `keypoints_from_heads` in one launch: the same bits for the first counts[n] anchors of image n, zeros for all
/// others. An index that is no anchor's, -1 say, gives zeros too, where the CPU op refuses it: the host does not see
/// it. So do descriptors of another number of images or other dimensions.
///
/// levels       [level_count], at most kMostDeviceKeypointLevels, with pointers to device memory; elements may be
///              float16 too
/// dimensions   D, as described
/// descriptors  on the device, as described for N images; 16-byte aligned
/// points       float32 [N, capacity, K, 3] on the device: all of it is written. Overlaps nothing that is read
///
/// Moves: the chosen anchors' values once, a sector of 32 bytes for each where the heads lie channel by channel; 12
/// bytes of each point of the capacity. 100 of 300 anchors of 17 points: 0.16 MB + 0.06 MB.
Status keypoints_from_heads_on_device(Device& device, const KeypointLevel* levels, std::int64_t level_count,
                                      std::int64_t dimensions, const void* descriptors,
                                      const DeviceChosenAnchors& chosen, float* points, Stream stream);

}  // namespace rfkernels
