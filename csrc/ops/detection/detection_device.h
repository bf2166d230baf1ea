#pragma once

// What the host and the kernels of detection.cu and nms.cu agree on: plain data.

#include <cstdint>

#include "device/axis_back.h"
#include "rfkernels/detection.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// What may change from call to call: describe_detection writes it on the host, the caller copies it to the device.
/// First this, then AxisBack [image_count][2] (x, y), then float [class_count] thresholds of the scores, then
/// uint8 [class_count], the classes that are wanted.
struct alignas(16) DetectionDescriptor {
    std::int32_t image_count;
    std::int32_t class_count;
    float logit_gate;     ///< every candidate's logit is above it; for `detect_from_heads`
    float score_gate;     ///< every candidate's score is above it; for `detect_from_decoded`
    float iou_threshold;  ///< the greatest float not above the real threshold
    std::int32_t class_agnostic;
    std::int32_t filters_before;  ///< unwanted classes are no candidates
    std::int32_t whole_pixels;    ///< boxes in the image are rounded
    std::int32_t max_detections;
};

struct DetectionDescriptorLayout {
    std::size_t axes;
    std::size_t thresholds;
    std::size_t wanted;
    std::size_t bytes;
};

/// A tensor [N, channels, anchors] on the device, steps in elements. One of channel_step and anchor_step is 1.
struct DevicePlane {
    const void* data;
    std::int64_t channel_step;
    std::int64_t anchor_step;
    std::int64_t image_step;
    DataType dtype;
    bool is_vector;  ///< anchors contiguous, every channel's begin and length a multiple of 16 bytes
};

struct DeviceLevel {
    DevicePlane classes;
    DevicePlane box;  ///< channels: bins of the sides, or centre and size where the output is decoded already
    std::int32_t columns;
    std::int32_t anchor_count;
    std::int32_t first_anchor;
    std::uint32_t first_tile;  ///< a tile is a block's anchors, all of one level
    float stride;
};

constexpr int kMostDeviceLevels = 8;
/// Anchors of a tile.
constexpr int kTileAnchors = 128;

/// Memory that lasts from the blocks that find candidates to the one that suppresses: [image_count] of each.
struct DetectionScratch {
    std::uint32_t* tickets;  ///< of blocks that are done; zeros before and after
    std::uint32_t* counts;   ///< of candidates; zeros before and after
    std::uint64_t* keys;     ///< [anchor_count] of candidates, in any order: descending_key, then the anchor
    float* boxes;            ///< [anchor_count][4] at an anchor's place, in the network's input
    std::int32_t* classes;   ///< [anchor_count] at an anchor's place
    std::uint64_t* kept;     ///< [max_detections] keys, best first
};

struct DetectionLaunch {
    DeviceLevel levels[kMostDeviceLevels];
    std::int32_t level_count;
    std::int32_t image_count;
    std::int32_t class_count;
    std::int32_t reg_max;
    std::int32_t anchor_count;
    std::int32_t max_detections;  ///< room in the results for each image
    std::uint32_t tile_count;
    bool is_decoded;
    DetectionDescriptorLayout layout;
    const unsigned char* descriptors;
    DetectionScratch scratch;
    DeviceDetections results;
};

struct SuppressionLaunch {
    const float* boxes;
    const float* scores;
    const std::int32_t* class_ids;     ///< or null
    const std::int32_t* device_count;  ///< or null
    std::int32_t count;
    std::int32_t max_detections;
    float iou_threshold;
    std::uint64_t* keys;  ///< [count]
    std::uint64_t* kept;  ///< [max_detections]
    DeviceKept results;
};

#define RFK_DECLARE_LAUNCH(device)                                       \
    namespace device {                                                   \
    bool launch_detection(const DetectionLaunch& launch, Stream stream); \
    bool launch_nms(const SuppressionLaunch& launch, Stream stream);     \
    }
RFK_DECLARE_LAUNCH(cuda)
RFK_DECLARE_LAUNCH(emulated)
#undef RFK_DECLARE_LAUNCH

}  // namespace rfkernels
