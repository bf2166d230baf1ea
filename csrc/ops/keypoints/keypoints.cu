// One launch for a batch. A lane owns one point of one chosen anchor: it reads the point's two or three values,
// wherever they lie, and takes them back to the image. A block has 256 points that follow each other in the result, and
// writes them as they lie there: 768 values, side by side.

#include "device/arithmetic.h"
#include "device/axis_back.h"
#include "device/kernel.h"
#include "ops/keypoints/keypoints_device.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr int kBlockPoints = 256;
constexpr int kPointValues = 3;

__device__ __forceinline__ float value_at(const DeviceKeypointLevel& level, std::int64_t element) {
    if (level.dtype == DataType::kFloat32) return static_cast<const float*>(level.data)[element];
    const std::uint16_t bits = static_cast<const std::uint16_t*>(level.data)[element];
    return level.dtype == DataType::kFloat16 ? __half2float(__ushort_as_half(bits)) : from_bfloat16(bits);
}

/// Adding 0 makes 0 of -0.
__device__ __forceinline__ float settled(const AxisBack& axis, float position, bool whole_pixels) {
    return (whole_pixels ? rintf(position) : clamped_to_image(axis, position)) + 0.0f;
}

/// One point of an anchor of all levels; zeros where it does not count.
__device__ __forceinline__ void find_point(const KeypointLaunch& launch, int image, int anchor, int point,
                                           float (&values)[kPointValues]) {
    const KeypointDescriptor& descriptor = *reinterpret_cast<const KeypointDescriptor*>(launch.descriptors);
    // Levels are looked at with constant indices: arguments of a kernel that are not would be copied to local memory.
    DeviceKeypointLevel level = launch.levels[0];
    RFK_UNROLL
    for (int i = 1; i < kMostDeviceKeypointLevels; ++i) {
        if (i < launch.level_count && anchor >= launch.levels[i].first_anchor) level = launch.levels[i];
    }
    const int of_level = anchor - level.first_anchor;
    const std::int64_t element = image * level.image_step + of_level * level.anchor_step +
                                 static_cast<std::int64_t>(point) * launch.dimensions * level.channel_step;
    const float network_x = value_at(level, element);
    const float network_y = value_at(level, element + level.channel_step);
    const float logit = launch.dimensions == 3 ? value_at(level, element + 2 * level.channel_step) : 0.0f;

    const AxisBack* const axes =
        reinterpret_cast<const AxisBack*>(launch.descriptors + sizeof(KeypointDescriptor)) + 2 * image;
    const AxisBack axis_x = axes[0];
    const AxisBack axis_y = axes[1];
    const float column = static_cast<float>(of_level % level.columns);
    const float row = static_cast<float>(of_level / level.columns);
    const float x = position_in_image(axis_x, (2.0f * network_x + column) * level.stride);
    const float y = position_in_image(axis_y, (2.0f * network_y + row) * level.stride);
    float confidence = launch.dimensions == 3 ? sigmoid(logit) : 1.0f;
    if (confidence != confidence) confidence = 0.0f;
    if (!is_finite(x) || !is_finite(y) || confidence < descriptor.confidence) return;
    const bool whole_pixels = descriptor.whole_pixels != 0;
    values[0] = settled(axis_x, x, whole_pixels);
    values[1] = settled(axis_y, y, whole_pixels);
    values[2] = confidence;
}

__global__ void __launch_bounds__(kBlockPoints) keypoints(KeypointLaunch launch) {
    RFK_SHARED(float, staged, kBlockPoints* kPointValues);
    const KeypointDescriptor& descriptor = *reinterpret_cast<const KeypointDescriptor*>(launch.descriptors);
    const int thread = static_cast<int>(threadIdx.x);
    const int image = static_cast<int>(blockIdx.y);
    const int image_points = launch.capacity * launch.point_count;
    const int first = static_cast<int>(blockIdx.x) * kBlockPoints;
    const int place = first + thread;
    float values[kPointValues] = {0.0f, 0.0f, 0.0f};
    // Descriptors of another batch: placements of other images would be read, or none.
    const bool fits = descriptor.image_count == launch.image_count && descriptor.dimensions == launch.dimensions;
    if (fits && place < image_points) {
        const int chosen = place / launch.point_count;
        if (chosen < launch.counts[image]) {
            const int anchor = launch.anchor_indices[static_cast<std::int64_t>(image) * launch.capacity + chosen];
            if (anchor >= 0 && anchor < launch.anchor_count) {
                find_point(launch, image, anchor, place % launch.point_count, values);
            }
        }
    }
    RFK_UNROLL
    for (int i = 0; i < kPointValues; ++i) staged[thread * kPointValues + i] = values[i];
    __syncthreads();  // all points of the block are there before any lane writes another one's values
    float* const results = launch.points + static_cast<std::int64_t>(image) * image_points * kPointValues;
    RFK_UNROLL
    for (int i = 0; i < kPointValues; ++i) {
        const int number = i * kBlockPoints + thread;
        if (first + number / kPointValues < image_points) {
            results[static_cast<std::int64_t>(first) * kPointValues + number] = staged[number];
        }
    }
}

}  // namespace

bool launch_keypoints(const KeypointLaunch& launch, Stream stream) {
    const unsigned points = static_cast<unsigned>(launch.capacity) * static_cast<unsigned>(launch.point_count);
    const LaunchShape shape{
        {(points + kBlockPoints - 1) / kBlockPoints, static_cast<unsigned>(launch.image_count)}, {kBlockPoints}, 0};
    return RFK_LAUNCH(keypoints, shape, stream, launch);
}

}  // namespace rfkernels::RFK_DEVICE
