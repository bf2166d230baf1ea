#include "ops/detection/detection_device.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "checks.h"
#include "device/guarded.h"
#include "device/image_targets.h"
#include "device/launch_on.h"
#include "heads.h"
#include "rfkernels/device.h"
#include "suppression.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostNumber = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostImages = 65535;  // the second side of a grid

std::size_t rounded_up(std::size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

DetectionDescriptorLayout layout_of(std::int64_t image_count, std::int64_t class_count) {
    const std::size_t images = static_cast<std::size_t>(std::max<std::int64_t>(0, image_count));
    const std::size_t classes = static_cast<std::size_t>(std::max<std::int64_t>(0, class_count));
    DetectionDescriptorLayout layout{};
    layout.axes = sizeof(DetectionDescriptor);
    layout.thresholds = layout.axes + images * 2 * sizeof(AxisBack);
    layout.wanted = layout.thresholds + classes * sizeof(float);
    layout.bytes = (layout.wanted + classes + 15) / 16 * 16;
    return layout;
}

/// The scratch's arrays one behind the other, those that are zeros first; from null, only their bytes.
std::size_t lay_out(void* memory, std::int64_t image_count, std::int64_t anchor_count, std::int64_t max_detections,
                    DetectionScratch* scratch) {
    const std::size_t images = static_cast<std::size_t>(std::max<std::int64_t>(0, image_count));
    const std::size_t anchors = images * static_cast<std::size_t>(std::max<std::int64_t>(0, anchor_count));
    const std::int64_t most_kept = std::min(std::max<std::int64_t>(0, max_detections), anchor_count);
    unsigned char* const begin = static_cast<unsigned char*>(memory);
    std::size_t used = 0;
    const auto take = [&](std::size_t bytes) {
        void* const part = begin == nullptr ? nullptr : begin + used;
        used += rounded_up(bytes);
        return part;
    };
    std::uint32_t* const counters = static_cast<std::uint32_t*>(take(images * 2 * sizeof(std::uint32_t)));
    scratch->tickets = counters;
    scratch->counts = counters == nullptr ? nullptr : counters + images;
    scratch->keys = static_cast<std::uint64_t*>(take(anchors * sizeof(std::uint64_t)));
    scratch->boxes = static_cast<float*>(take(anchors * 4 * sizeof(float)));
    scratch->classes = static_cast<std::int32_t*>(take(anchors * sizeof(std::int32_t)));
    scratch->kept = static_cast<std::uint64_t*>(
        take(images * static_cast<std::size_t>(std::max<std::int64_t>(0, most_kept)) * sizeof(std::uint64_t)));
    return used;
}

DevicePlane device_plane(const Plane& plane, std::int64_t first_channel, std::int64_t anchor_count) {
    DevicePlane result{};
    result.data =
        static_cast<const unsigned char*>(plane.data) + first_channel * plane.channel_step * plane.element_size();
    result.channel_step = plane.channel_step;
    result.anchor_step = plane.anchor_step;
    result.image_step = plane.image_step;
    result.dtype = plane.dtype;
    const auto is_whole = [&](std::int64_t elements) { return elements * plane.element_size() % 16 == 0; };
    result.is_vector = plane.anchor_step == 1 && reinterpret_cast<std::uintptr_t>(result.data) % 16 == 0 &&
                       is_whole(plane.channel_step) && is_whole(plane.image_step) && is_whole(anchor_count);
    return result;
}

Status check_pointer(const char* name, const void* pointer, std::uintptr_t alignment) {
    if (pointer == nullptr) return Status::invalid_argument(std::string(name) + " is a null pointer");
    if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) {
        return Status::invalid_argument(std::string(name) + " is not " + std::to_string(alignment) +
                                        "-byte aligned; give memory as the device allocates it");
    }
    return Status();
}

/// What both kinds of heads have in common, once the levels are written.
Status launch(Device& device, const void* descriptors, const DeviceDetections& results, void* scratch, Stream stream,
              DetectionLaunch* launch) {
    if (results.max_detections < 0 || results.max_detections > kMostNumber) {
        return Status::invalid_argument("results have max_detections " + std::to_string(results.max_detections) +
                                        "; give a number from 0 to 2147483647");
    }
    if (launch->image_count > kMostImages) {
        return Status::invalid_argument("the heads are of " + std::to_string(launch->image_count) +
                                        " images; a device takes at most 65535 at once");
    }
    Status status = check_pointer("descriptors", descriptors, 16);
    if (status.ok()) status = check_pointer("scratch", scratch, 16);
    if (status.ok()) status = check_pointer("results.counts", results.counts, 4);
    if (status.ok()) status = check_pointer("results.flags", results.flags, 4);
    if (results.max_detections > 0) {
        if (status.ok()) status = check_pointer("results.boxes", results.boxes, 16);
        if (status.ok()) status = check_pointer("results.network_boxes", results.network_boxes, 16);
        if (status.ok()) status = check_pointer("results.scores", results.scores, 4);
        if (status.ok()) status = check_pointer("results.class_ids", results.class_ids, 4);
        if (status.ok()) status = check_pointer("results.anchor_indices", results.anchor_indices, 4);
    }
    if (!status.ok()) return status;
    launch->layout = layout_of(launch->image_count, launch->class_count);
    launch->descriptors = static_cast<const unsigned char*>(descriptors);
    launch->results = results;
    launch->max_detections = static_cast<std::int32_t>(results.max_detections);
    lay_out(scratch, launch->image_count, launch->anchor_count, results.max_detections, &launch->scratch);
    return RFK_LAUNCH_ON(device, "detection", kernels::launch_detection(*launch, stream));
}

/// Adds a level, and its blocks, to those before it.
void add_level(const DevicePlane& classes, const DevicePlane& box, const Grid& grid, DetectionLaunch* launch) {
    DeviceLevel& level = launch->levels[launch->level_count++];
    level.classes = classes;
    level.box = box;
    level.columns = static_cast<std::int32_t>(grid.columns);
    level.anchor_count = static_cast<std::int32_t>(grid.anchor_count);
    level.first_anchor = static_cast<std::int32_t>(grid.first_anchor);
    level.first_tile = launch->tile_count;
    level.stride = grid.stride;
    launch->anchor_count += level.anchor_count;
    launch->tile_count += static_cast<std::uint32_t>((grid.anchor_count + kTileAnchors - 1) / kTileAnchors);
}

constexpr char kNoMemory[] = "detection: no memory for a launch";

}  // namespace

std::size_t detection_descriptor_bytes(std::int64_t image_count, std::int64_t class_count) {
    return layout_of(image_count, class_count).bytes;
}

Status describe_detection(const ImageTarget* images, std::int64_t image_count, std::int64_t class_count,
                          const DetectionParams& params, void* descriptors, std::size_t descriptor_bytes) {
    return guarded("detection: not enough memory to describe the images", [&]() -> Status {
        if (image_count < 1 || image_count > kMostImages || class_count < 1 || class_count > kMostNumber) {
            return Status::invalid_argument("image_count is " + std::to_string(image_count) + " and class_count " +
                                            std::to_string(class_count) + "; give 1 to 65535 images, at least 1 class");
        }
        Status status = check_pointer("descriptors", descriptors, 16);
        if (status.ok()) status = check_pointer("images", images, 1);
        if (status.ok()) status = check(params.suppression);
        if (status.ok()) status = check_thresholds(params, class_count);
        if (status.ok()) status = check_images(images, image_count, image_count);
        if (!status.ok()) return status;
        const DetectionDescriptorLayout layout = layout_of(image_count, class_count);
        if (layout.bytes > descriptor_bytes) {
            return Status::invalid_argument("descriptors have room for " + std::to_string(descriptor_bytes) +
                                            " bytes, these images and classes take " + std::to_string(layout.bytes) +
                                            "; give detection_descriptor_bytes");
        }
        unsigned char* const bytes = static_cast<unsigned char*>(descriptors);
        // All of it: what lies between the parts is copied too.
        std::memset(bytes, 0, layout.bytes);
        DetectionDescriptor header{};
        header.image_count = static_cast<std::int32_t>(image_count);
        header.class_count = static_cast<std::int32_t>(class_count);
        header.score_gate = lowest_confidence(params);
        header.logit_gate = logit_gate(header.score_gate);
        header.iou_threshold = greatest_float_not_above(params.suppression.iou_threshold);
        header.class_agnostic = params.suppression.class_agnostic ? 1 : 0;
        header.filters_before = params.class_filter_stage == ClassFilterStage::kBeforeSuppression ? 1 : 0;
        header.whole_pixels = params.box_convention == BoxConvention::kV2 ? 1 : 0;
        header.max_detections = static_cast<std::int32_t>(std::min(params.suppression.max_detections, kMostNumber));
        std::memcpy(bytes, &header, sizeof(header));
        for (std::int64_t i = 0; i < image_count; ++i) {
            const AxisBack axes[2] = {x_axis_back(images[i]), y_axis_back(images[i])};
            std::memcpy(bytes + layout.axes + static_cast<std::size_t>(i) * sizeof(axes), axes, sizeof(axes));
        }
        for (std::size_t i = 0; i < static_cast<std::size_t>(class_count); ++i) {
            const float threshold =
                params.class_confidences == nullptr ? params.confidence : params.class_confidences[i];
            std::memcpy(bytes + layout.thresholds + i * sizeof(threshold), &threshold, sizeof(threshold));
            bytes[layout.wanted + i] = params.wanted_classes == nullptr || params.wanted_classes[i] != 0 ? 1 : 0;
        }
        return Status();
    });
}

std::size_t detection_scratch_bytes(std::int64_t image_count, std::int64_t anchor_count, std::int64_t max_detections) {
    DetectionScratch scratch{};
    return lay_out(nullptr, image_count, anchor_count, max_detections, &scratch);
}

Status detect_from_heads_on_device(Device& device, const HeadLevel* levels, std::int64_t level_count,
                                   const void* descriptors, const DeviceDetections& results, void* scratch,
                                   Stream stream) {
    return guarded(kNoMemory, [&]() -> Status {
        if (level_count > kMostDeviceLevels) {
            return Status::invalid_argument("heads has " + std::to_string(level_count) +
                                            " levels; a device takes at most " + std::to_string(kMostDeviceLevels));
        }
        Heads heads;
        const Status status = read_levels(levels, level_count, as_device_plane, &heads);
        if (!status.ok()) return status;
        DetectionLaunch arguments{};
        arguments.image_count = static_cast<std::int32_t>(std::min(heads.batch_size, kMostNumber));
        arguments.class_count = static_cast<std::int32_t>(heads.class_count);
        arguments.reg_max = static_cast<std::int32_t>(heads.reg_max);
        for (const Level& level : heads.levels) {
            add_level(device_plane(level.classes, 0, level.grid.anchor_count),
                      device_plane(level.box, 0, level.grid.anchor_count), level.grid, &arguments);
        }
        return launch(device, descriptors, results, scratch, stream, &arguments);
    });
}

Status detect_from_decoded_on_device(Device& device, const TensorView& prediction, const void* descriptors,
                                     const DeviceDetections& results, void* scratch, Stream stream) {
    return guarded(kNoMemory, [&]() -> Status {
        Plane plane;
        const Status status = read_prediction(prediction, as_device_plane, &plane);
        if (!status.ok()) return status;
        DetectionLaunch arguments{};
        arguments.image_count = static_cast<std::int32_t>(std::min(prediction.shape[0], kMostNumber));
        arguments.class_count = static_cast<std::int32_t>(prediction.shape[1] - kSides);
        arguments.reg_max = 1;
        arguments.is_decoded = true;
        Grid grid;
        grid.columns = grid.anchor_count = prediction.shape[2];
        add_level(device_plane(plane, kSides, grid.anchor_count), device_plane(plane, 0, grid.anchor_count), grid,
                  &arguments);
        return launch(device, descriptors, results, scratch, stream, &arguments);
    });
}

std::size_t nms_scratch_bytes(std::int64_t count, const SuppressionParams& params) {
    const std::int64_t boxes = std::max<std::int64_t>(0, count);
    const std::int64_t most_kept = std::min(boxes, std::max<std::int64_t>(0, params.max_detections));
    return static_cast<std::size_t>(boxes + most_kept) * sizeof(std::uint64_t);
}

Status nms_on_device(Device& device, const float* boxes, const float* scores, const std::int32_t* class_ids,
                     std::int64_t count, const std::int32_t* device_count, const SuppressionParams& params,
                     const DeviceKept& results, void* scratch, Stream stream) {
    return guarded("nms: no memory for a launch", [&]() -> Status {
        Status status = check(params);
        if (!status.ok()) return status;
        if (count < 0 || count > kMostNumber) {
            return Status::invalid_argument("boxes has " + std::to_string(count) + " rows; give at most 2147483647");
        }
        if (count > 0) {
            status = check_pointer("boxes", boxes, 16);
            if (status.ok()) status = check_pointer("scores", scores, 4);
            if (status.ok()) status = check_pointer("scratch", scratch, 16);
            if (status.ok() && class_ids != nullptr) status = check_pointer("class_ids", class_ids, 4);
        }
        if (status.ok() && device_count != nullptr) status = check_pointer("device_count", device_count, 4);
        if (status.ok() && params.max_detections > 0) status = check_pointer("results.indices", results.indices, 4);
        if (status.ok()) status = check_pointer("results.count", results.count, 4);
        if (status.ok()) status = check_pointer("results.flags", results.flags, 4);
        if (!status.ok()) return status;
        SuppressionLaunch arguments{};
        arguments.boxes = boxes;
        arguments.scores = scores;
        arguments.class_ids = params.class_agnostic ? nullptr : class_ids;
        arguments.device_count = device_count;
        arguments.count = static_cast<std::int32_t>(count);
        arguments.max_detections = static_cast<std::int32_t>(std::min(params.max_detections, kMostNumber));
        arguments.iou_threshold = greatest_float_not_above(params.iou_threshold);
        arguments.keys = static_cast<std::uint64_t*>(scratch);
        arguments.kept = arguments.keys + count;
        arguments.results = results;
        return RFK_LAUNCH_ON(device, "nms", kernels::launch_nms(arguments, stream));
    });
}

}  // namespace rfkernels
