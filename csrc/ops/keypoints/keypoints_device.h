#pragma once

// What the host and the kernel of keypoints.cu agree on: plain data.

#include <cstdint>

#include "device/axis_back.h"
#include "rfkernels/keypoints.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// What may change from call to call: describe_keypoints writes it on the host, the caller copies it to the device.
/// First this, then AxisBack [image_count][2] (x, y).
struct alignas(16) KeypointDescriptor {
    std::int32_t image_count;
    std::int32_t dimensions;
    std::int32_t whole_pixels;  ///< points are rounded, and not clamped to the image
    float confidence;
};

/// A level's tensor [N, channels, anchors] on the device, steps in elements.
struct DeviceKeypointLevel {
    const void* data;
    std::int64_t channel_step;
    std::int64_t anchor_step;
    std::int64_t image_step;
    DataType dtype;
    std::int32_t columns;
    std::int32_t first_anchor;
    float stride;
};

struct KeypointLaunch {
    DeviceKeypointLevel levels[kMostDeviceKeypointLevels];
    std::int32_t level_count;
    std::int32_t anchor_count;  ///< of all levels
    std::int32_t image_count;
    std::int32_t point_count;  ///< of an anchor
    std::int32_t dimensions;
    std::int32_t capacity;
    const unsigned char* descriptors;
    const std::int32_t* anchor_indices;
    const std::int32_t* counts;
    float* points;
};

#define RFK_DECLARE_LAUNCH(device)                                      \
    namespace device {                                                  \
    bool launch_keypoints(const KeypointLaunch& launch, Stream stream); \
    }
RFK_DECLARE_LAUNCH(cuda)
RFK_DECLARE_LAUNCH(emulated)
#undef RFK_DECLARE_LAUNCH

}  // namespace rfkernels
