#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rfkernels/device.h"
#include "rfkernels/placement.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// What is done to a box on its way from the network's input back to the image (both clamp to the image).
enum class BoxConvention {
    kV2,           ///< whole pixels: rounded half to even after clamping (inference-models 0.39)
    kUltralytics,  ///< fractions of a pixel are kept (ultralytics 8.4)
};

/// When detections of unwanted classes are dropped.
enum class ClassFilterStage {
    kBeforeSuppression,  ///< an unwanted class neither suppresses nor takes a place (ultralytics)
    kAfterCut,           ///< the first max_detections are chosen among all classes, then filtered (V2)
};

struct SuppressionParams {
    /// In [0, 1]. A box is suppressed when its IoU with a kept box is greater: strictly, the float32 quotient compared
    /// with this double, so that boxes of IoU 3/10 are suppressed at 0.3 (float32(0.3) > 0.3), as in torchvision.
    double iou_threshold = 0.3;
    bool class_agnostic = false;        ///< true: a box of any class suppresses; false: only one of the same class
    std::int64_t max_detections = 300;  ///< at least 0; the best of what suppression leaves
};

struct DetectionParams {
    float confidence = 0.4f;  ///< in [0, 1]; a candidate's score must be greater, strictly, in float32
    /// float32 [class_count] or null: for each class in place of `confidence`, each in [0, 1]. Compared with the score
    /// of an anchor's best class only: an anchor never falls back to its second best.
    const float* class_confidences = nullptr;
    std::int64_t class_confidence_count = 0;
    /// uint8 [class_count] or null: the classes that are wanted, where not 0.
    const std::uint8_t* wanted_classes = nullptr;
    std::int64_t wanted_class_count = 0;
    ClassFilterStage class_filter_stage = ClassFilterStage::kAfterCut;
    BoxConvention box_convention = BoxConvention::kV2;
    SuppressionParams suppression;
};

/// One scale of a YOLOv8 head, the outputs of its last convolutions.
///
/// box     [N, 4 * reg_max, H, W]   channel = side * reg_max + bin, sides left, top, right, bottom
/// classes [N, class_count, H, W]   logits
///
/// Either tensor may lie in memory channel by channel (every plane H x W contiguous, any plane pitch) or anchor by
/// anchor (NHWC seen as NCHW: channels contiguous, any anchor pitch, rows W anchor pitches apart). Their elements are
/// float32, or bfloat16, which becomes float32 before any arithmetic.
struct HeadLevel {
    TensorView box;
    TensorView classes;
    std::int64_t stride = 0;  ///< network pixels from an anchor to the next
};

/// Where an image lies in the network's input, and its full size (before `placement.crop`). Its scales are positive
/// numbers of float32's normal range.
struct ImageTarget {
    Placement placement;
    std::int64_t image_width = 0;
    std::int64_t image_height = 0;
};

/// What was found in one image: n detections by descending score, equal scores by ascending anchor.
struct Detections {
    std::vector<float> boxes;                  ///< [n, 4] x1 y1 x2 y2 in pixels of the original image
    std::vector<float> network_boxes;          ///< [n, 4] the same in pixels of the network's input, not clamped
    std::vector<float> scores;                 ///< [n]
    std::vector<std::int32_t> class_ids;       ///< [n]
    std::vector<std::int32_t> anchor_indices;  ///< [n] levels in the order given, rows of a level from the top
    bool overflowed = false;                   ///< suppression left more than max_detections; the rest was cut
};

/// Raw YOLOv8 heads to detections. For every image:
///
///   class     = the greatest of the anchor's logits, the first on a tie
///   score     = sigmoid(logit), fp32 (device/arithmetic.h: the same bits on every machine, <= 2 ulp; 0 for logits
///               below -88.7, where it would be subnormal)
///   distance  = sum(bin * softmax(box[side])) fp32; for reg_max 1 the channel itself
///   x1, y1    = (anchor + 0.5 - distance) * stride,    x2, y2 = (anchor + 0.5 + distance) * stride
///   kept      = greedy non-maximum suppression of the candidates with score > confidence, by descending score
///   box       = (x - left) / scale + crop, clamped to the image, rounded where the convention says so; fp32
///
/// All candidates take part, however many. A NaN never passes: a NaN logit is no anchor's best class, and an anchor
/// whose box has a coordinate that is not finite is no candidate.
///
/// levels  [level_count], of equal N, reg_max and class_count
/// images  [image_count], image_count = N
/// results one for each image; left as they were when the call fails
///
/// Moves: the class logits once (2.7 MB for 80 x 8400), the box bins of candidates only.
Status detect_from_heads(const HeadLevel* levels, std::int64_t level_count, const ImageTarget* images,
                         std::int64_t image_count, const DetectionParams& params, std::vector<Detections>* results);

/// The anchors of one image whose best class is sure enough, by ascending anchor.
struct Candidates {
    std::vector<std::int32_t> anchor_indices;  ///< [n] levels in the order given, rows of a level from the top
    std::vector<float> scores;                 ///< [n]
    std::vector<std::int32_t> class_ids;       ///< [n]
    std::vector<std::int64_t> level_counts;    ///< [level_count] how many of the n are at each level
};

/// The first half of `detect_from_heads`, for a network whose boxes are computed for candidates only.
///
/// classes [level_count], each [N, class_count, H, W] logits as `HeadLevel` has them
/// params  its thresholds, and the wanted classes where they filter before the suppression
/// results one for each image; left as they were when the call fails
///
/// Moves: the class logits once.
Status select_candidates(const TensorView* classes, std::int64_t level_count, const DetectionParams& params,
                         std::vector<Candidates>* results);

/// The anchors of one level: rows from the top, `stride` network pixels from one to the next.
struct AnchorGrid {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::int64_t stride = 0;
};

/// One image's candidates, as `select_candidates` gives them, and the bins of their boxes.
struct CandidateBoxes {
    const std::int32_t* anchor_indices = nullptr;  ///< [count] strictly ascending
    const float* scores = nullptr;                 ///< [count] no NaN
    const std::int32_t* class_ids = nullptr;       ///< [count]
    std::int64_t count = 0;
    /// [grid_count] float32 or bfloat16 [m, 4 * reg_max]: row k is of a level's k-th candidate, rows beyond are unused.
    const TensorView* boxes = nullptr;
};

/// The second half of `detect_from_heads`: the same detections from the same bins.
///
/// grids      [grid_count] the levels
/// candidates [image_count]
/// images     [image_count]
/// params     its thresholds are not used; a class beyond `wanted_classes` is not wanted
/// results    one for each image; left as they were when the call fails
Status detect_from_candidates(const AnchorGrid* grids, std::int64_t grid_count, const CandidateBoxes* candidates,
                              const ImageTarget* images, std::int64_t image_count, const DetectionParams& params,
                              std::vector<Detections>* results);

/// `detect_from_heads` from an output that is decoded already, as ultralytics exports it.
///
/// prediction  float32 or bfloat16 [N, 4 + class_count, A]: centre x, centre y, width, height in network pixels, then
/// scores.
///             Anchors contiguous (any row pitch), or channels contiguous ([N, A, 4 + class_count] seen transposed).
///
/// Here the class is that of the greatest score and x1 = cx - w / 2, x2 = cx + w / 2.
Status detect_from_decoded(const TensorView& prediction, const ImageTarget* images, std::int64_t image_count,
                           const DetectionParams& params, std::vector<Detections>* results);

// On a device, in two steps, so that a captured graph goes on to serve other images with other thresholds: what changes
// from call to call are descriptors, which the host writes and whoever calls copies to the device; what the graph keeps
// is where things lie and the shapes of the heads. Nothing waits for the host, and nothing but the results comes back.

/// The bytes that the descriptors of a batch take.
std::size_t detection_descriptor_bytes(std::int64_t image_count, std::int64_t class_count);

/// Writes the descriptors: all of `images` and `params`.
///
/// images       [image_count]
/// descriptors  host memory of at least `detection_descriptor_bytes`, 16-byte aligned
///
/// Fails as `detect_from_heads` does.
Status describe_detection(const ImageTarget* images, std::int64_t image_count, std::int64_t class_count,
                          const DetectionParams& params, void* descriptors, std::size_t descriptor_bytes);

/// Bits of `DeviceDetections::flags` and `DeviceKept::flags`.
constexpr std::uint32_t kOverflowed = 1;  ///< more than max_detections survived; the rest was cut
/// The descriptors are of another number of images or classes, or were never copied: nothing was looked for.
constexpr std::uint32_t kWrongDescriptors = 2;
constexpr std::uint32_t kDroppedNan = 4;  ///< `nms_on_device` left out boxes with a NaN, or whose score is one

/// Where a batch's detections go: device memory of the caller's, `boxes` and `network_boxes` 16-byte aligned. Rows from
/// an image's count on hold zeros, and -1 as class and anchor.
struct DeviceDetections {
    std::int64_t max_detections = 0;         ///< room for each image; `DetectionParams` may ask for less
    float* boxes = nullptr;                  ///< [N, max_detections, 4] x1 y1 x2 y2 in pixels of the original image
    float* network_boxes = nullptr;          ///< [N, max_detections, 4] the same in pixels of the network's input
    float* scores = nullptr;                 ///< [N, max_detections]
    std::int32_t* class_ids = nullptr;       ///< [N, max_detections]
    std::int32_t* anchor_indices = nullptr;  ///< [N, max_detections]
    std::int32_t* counts = nullptr;          ///< [N]
    std::uint32_t* flags = nullptr;          ///< [N]
};

/// The bytes of device memory that the functions below work in. anchor_count is that of all levels of one image.
///
/// The first 8 * image_count bytes are zeros before the first launch; each launch leaves them so. Launches that may run
/// at the same time need scratch of their own.
std::size_t detection_scratch_bytes(std::int64_t image_count, std::int64_t anchor_count, std::int64_t max_detections);

/// `detect_from_heads` in one launch: the same bits, however many candidates there are. Above 1,024 of an image it
/// takes longer.
///
/// levels       [level_count], at most 8, with pointers to device memory; elements may be float16 too. Channel by
///              channel, each on a multiple of 16 bytes, is read fastest
/// descriptors  on the device, as described for as many images and classes; 16-byte aligned
/// scratch      16-byte aligned
///
/// Where the descriptors' max_detections is greater than the results', that of the results counts.
///
/// Moves: the class logits once, the box bins of candidates. 80 x 8400: 2.69 MB in float32, floor 0.80 us on an H100.
Status detect_from_heads_on_device(Device& device, const HeadLevel* levels, std::int64_t level_count,
                                   const void* descriptors, const DeviceDetections& results, void* scratch,
                                   Stream stream);

/// `detect_from_decoded` in one launch, as above.
Status detect_from_decoded_on_device(Device& device, const TensorView& prediction, const void* descriptors,
                                     const DeviceDetections& results, void* scratch, Stream stream);

struct Kept {
    std::vector<std::int32_t> indices;  ///< by descending score, equal scores by ascending index
    bool overflowed = false;            ///< more than max_detections survived; the rest was cut
};

/// Greedy non-maximum suppression: exact, deterministic, the same on every instruction set.
///
///   IoU = inter / (area_a + area_b - inter), fp32; a 0 / 0 suppresses nothing
///
/// boxes      float32 [count, 4] contiguous, x1 y1 x2 y2; no NaN
/// scores     float32 [count]; no NaN
/// class_ids  int32 [count], any values, or null: all of one class
///
/// Source: torchvision.ops.batched_nms, with class ids compared instead of coordinates moved apart.
/// Memory grows with count, not with its square.
Status nms(const float* boxes, const float* scores, const std::int32_t* class_ids, std::int64_t count,
           const SuppressionParams& params, Kept* result);

/// Where `nms_on_device` writes, all on the device.
struct DeviceKept {
    std::int32_t* indices = nullptr;  ///< [min(count, max_detections)], -1 from the number of kept on
    std::int32_t* count = nullptr;    ///< [1] how many are kept
    std::uint32_t* flags = nullptr;   ///< [1]
};

/// The bytes of device memory that `nms_on_device` works in; they need not be zeros.
std::size_t nms_scratch_bytes(std::int64_t count, const SuppressionParams& params);

/// `nms` of arrays on the device, in one launch of one block: the same indices.
///
/// boxes         float32 [count, 4], 16-byte aligned
/// device_count  int32 [1] on the device: how many of the `count` boxes there are, read when the launch runs (more are
///               taken as `count`, less than 0 as 0). Null: all of them
/// scratch       16-byte aligned
///
/// A box with a NaN, or whose score is one, is left out and flagged, where `nms` refuses it.
Status nms_on_device(Device& device, const float* boxes, const float* scores, const std::int32_t* class_ids,
                     std::int64_t count, const std::int32_t* device_count, const SuppressionParams& params,
                     const DeviceKept& results, void* scratch, Stream stream);

}  // namespace rfkernels
