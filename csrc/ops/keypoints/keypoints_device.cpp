#include "ops/keypoints/keypoints_device.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "device/guarded.h"
#include "device/image_targets.h"
#include "device/launch_on.h"
#include "device/memory_extent.h"
#include "ops/keypoints/checks.h"

namespace rfkernels {
namespace {

constexpr char kNoMemory[] = "keypoints: no memory for a launch";
constexpr std::int64_t kMostImages = 65535;                                            // of a grid
constexpr std::int64_t kMostPoints = std::numeric_limits<std::int32_t>::max() - 1024;  // of whole blocks
constexpr std::uintptr_t kDescriptorAlignment = 16;

Status check_descriptors(const void* descriptors) {
    if (descriptors != nullptr && reinterpret_cast<std::uintptr_t>(descriptors) % kDescriptorAlignment == 0) {
        return Status();
    }
    return Status::invalid_argument(std::string("descriptors are ") +
                                    (descriptors == nullptr ? "a null pointer" : "not on a multiple of 16 bytes") +
                                    "; give memory of keypoint_descriptor_bytes, 16-byte aligned");
}

/// Of 4 bytes each.
Status check_words(const char* name, const void* words) {
    if (words == nullptr) return Status::invalid_argument(std::string(name) + " is a null pointer");
    if (reinterpret_cast<std::uintptr_t>(words) % 4 == 0) return Status();
    return Status::invalid_argument(std::string(name) + " is not on a multiple of 4 bytes");
}

Status check_chosen(const DeviceChosenAnchors& chosen, const float* points, std::int64_t point_count) {
    const std::int64_t most = kMostPoints / point_count;
    if (chosen.capacity < 0 || chosen.capacity > most) {
        return Status::invalid_argument("capacity is " + std::to_string(chosen.capacity) + "; give 0 to " +
                                        std::to_string(most));
    }
    if (chosen.capacity == 0) return Status();
    Status status = check_words("anchor_indices", chosen.anchor_indices);
    if (status.ok()) status = check_words("counts", chosen.counts);
    if (status.ok()) status = check_words("points", points);
    return status;
}

/// All blocks run at once: what one writes, another may still have to read.
Status check_points_apart(const KeypointLevel* levels, std::int64_t level_count, std::int64_t point_count,
                          const void* descriptors, const DeviceChosenAnchors& chosen, const float* points) {
    const std::int64_t image_count = levels[0].keypoints.shape[0];
    const auto images = static_cast<std::uintptr_t>(image_count);
    const std::uintptr_t places = images * static_cast<std::uintptr_t>(chosen.capacity);
    const NamedExtent written{
        "points", MemoryExtent(points, places * static_cast<std::uintptr_t>(point_count) * 3 * sizeof(float))};
    Status status;
    for (std::int64_t i = 0; status.ok() && i < level_count; ++i) {
        status = check_apart(written, {"heads[" + std::to_string(i) + "]", MemoryExtent(levels[i].keypoints)});
    }
    if (status.ok()) {
        status = check_apart(written,
                             {"anchor_indices", MemoryExtent(chosen.anchor_indices, places * sizeof(std::int32_t))});
    }
    if (status.ok()) {
        status = check_apart(written, {"counts", MemoryExtent(chosen.counts, images * sizeof(std::int32_t))});
    }
    if (status.ok()) {
        status =
            check_apart(written, {"descriptors", MemoryExtent(descriptors, keypoint_descriptor_bytes(image_count))});
    }
    return status;
}

}  // namespace

std::size_t keypoint_descriptor_bytes(std::int64_t image_count) {
    return sizeof(KeypointDescriptor) +
           static_cast<std::size_t>(std::max<std::int64_t>(0, image_count)) * 2 * sizeof(AxisBack);
}

Status describe_keypoints(const ImageTarget* images, std::int64_t image_count, const KeypointParams& params,
                          void* descriptors, std::size_t descriptor_bytes) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_params(params);
        if (status.ok() && (image_count < 0 || image_count > kMostImages)) {
            status = Status::invalid_argument("image_count is " + std::to_string(image_count) + "; give 0 to " +
                                              std::to_string(kMostImages));
        }
        if (status.ok() && image_count > 0 && images == nullptr) {
            status = Status::invalid_argument("images is a null pointer");
        }
        if (status.ok()) status = check_images(images, image_count, image_count);
        if (status.ok()) status = check_descriptors(descriptors);
        if (!status.ok()) return status;
        const std::size_t needed = keypoint_descriptor_bytes(image_count);
        if (descriptor_bytes < needed) {
            return Status::invalid_argument("descriptors have room for " + std::to_string(descriptor_bytes) +
                                            " bytes, these images take " + std::to_string(needed) +
                                            "; give keypoint_descriptor_bytes");
        }
        KeypointDescriptor header{};
        header.image_count = static_cast<std::int32_t>(image_count);
        header.dimensions = static_cast<std::int32_t>(params.dimensions);
        header.whole_pixels = params.convention == BoxConvention::kV2 ? 1 : 0;
        header.confidence = params.confidence;
        unsigned char* place = static_cast<unsigned char*>(descriptors);
        std::memcpy(place, &header, sizeof(header));
        place += sizeof(header);
        for (std::int64_t n = 0; n < image_count; ++n) {
            const AxisBack axes[2] = {x_axis_back(images[n]), y_axis_back(images[n])};
            std::memcpy(place, axes, sizeof(axes));
            place += sizeof(axes);
        }
        return Status();
    });
}

Status keypoints_from_heads_on_device(Device& device, const KeypointLevel* levels, std::int64_t level_count,
                                      std::int64_t dimensions, const void* descriptors,
                                      const DeviceChosenAnchors& chosen, float* points, Stream stream) {
    return guarded(kNoMemory, [&]() -> Status {
        KeypointParams params;
        params.dimensions = dimensions;
        KeypointHeads heads;
        Status status = check_params(params);
        if (status.ok() && level_count > kMostDeviceKeypointLevels) {
            status = Status::invalid_argument("heads has " + std::to_string(level_count) +
                                              " levels; a device takes at most " +
                                              std::to_string(kMostDeviceKeypointLevels));
        }
        if (status.ok()) status = read_levels(levels, level_count, params, as_device_plane, &heads);
        if (!status.ok()) return status;
        const std::int64_t image_count = levels[0].keypoints.shape[0];
        const std::int64_t point_count = levels[0].keypoints.shape[1] / dimensions;
        if (image_count > kMostImages) {
            return Status::invalid_argument("heads[0] has " + std::to_string(image_count) +
                                            " images; a device takes at most " + std::to_string(kMostImages));
        }
        status = check_chosen(chosen, points, point_count);
        if (status.ok()) status = check_descriptors(descriptors);
        if (!status.ok() || chosen.capacity == 0) return status;
        status = check_points_apart(levels, level_count, point_count, descriptors, chosen, points);
        if (!status.ok()) return status;

        KeypointLaunch launch{};
        for (std::size_t i = 0; i < heads.planes.size(); ++i) {
            const Plane& plane = heads.planes[i];
            const Grid& grid = heads.grids[i];
            launch.levels[i] = DeviceKeypointLevel{plane.data,
                                                   plane.channel_step,
                                                   plane.anchor_step,
                                                   plane.image_step,
                                                   plane.dtype,
                                                   static_cast<std::int32_t>(grid.columns),
                                                   static_cast<std::int32_t>(grid.first_anchor),
                                                   grid.stride};
        }
        launch.level_count = static_cast<std::int32_t>(level_count);
        launch.anchor_count =
            static_cast<std::int32_t>(heads.grids.back().first_anchor + heads.grids.back().anchor_count);
        launch.image_count = static_cast<std::int32_t>(image_count);
        launch.point_count = static_cast<std::int32_t>(point_count);
        launch.dimensions = static_cast<std::int32_t>(dimensions);
        launch.capacity = static_cast<std::int32_t>(chosen.capacity);
        launch.descriptors = static_cast<const unsigned char*>(descriptors);
        launch.anchor_indices = chosen.anchor_indices;
        launch.counts = chosen.counts;
        launch.points = points;
        return RFK_LAUNCH_ON(device, "keypoints", kernels::launch_keypoints(launch, stream));
    });
}

}  // namespace rfkernels
