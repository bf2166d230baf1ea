#include <algorithm>
#include <string>
#include <vector>

#include "device/guarded.h"
#include "device/launch_on.h"
#include "device/memory_extent.h"
#include "device/planes.h"
#include "device_masks.h"

namespace rfkernels {
namespace {

constexpr const char* kNoMemory = "not enough memory to put masks on a device";

/// Of one image's prototypes, which kernels count in 32 bits; those of a few channels more are counted too.
constexpr std::int64_t kMostElements = 0x7FFFFFFF;

std::int64_t strips_of(std::int64_t width) {
    return (width + kStripColumns - 1) / kStripColumns;
}

/// Parts of the scratch memory, one after the other, each at a multiple of 16 bytes.
struct ScratchParts {
    unsigned char* begin = nullptr;
    std::size_t used = 0;

    template <typename Element>
    Element* take(std::int64_t count) {
        Element* part = reinterpret_cast<Element*>(begin + used);
        used += (static_cast<std::size_t>(count) * sizeof(Element) + 15) / 16 * 16;
        return part;
    }
};

/// Lays out scratch memory; returns its size.
std::size_t lay_out(const MaskDeviceLayout& layout, std::int64_t arena_runs, void* memory, MaskScratch* scratch) {
    const std::int64_t slots = layout.image_count * layout.max_detections;
    const std::int64_t tiles = slots * strips_of(layout.most_grid_width);
    ScratchParts parts{static_cast<unsigned char*>(memory), 0};
    scratch->totals = parts.take<MaskTotals>(1);
    scratch->windows = parts.take<MaskWindow>(slots);
    scratch->run_counts = parts.take<unsigned long long>(slots);
    scratch->tiles = parts.take<MaskTile>(tiles);
    scratch->tile_runs = parts.take<TileRuns>(tiles);
    scratch->runs = parts.take<std::int32_t>(arena_runs);
    return parts.used;
}

/// As `as_plane` of the CPU's ops, for float16 too.
Status as_device_planes(const TensorView& view, const std::string& name, DevicePlanes* planes) {
    if (view.dtype != DataType::kFloat32 && view.dtype != DataType::kFloat16 && view.dtype != DataType::kBfloat16) {
        return Status::invalid_argument(name + " is neither float32, float16 nor bfloat16; convert it first");
    }
    TensorView of_same_size = view;
    if (view.dtype == DataType::kFloat16) of_same_size.dtype = DataType::kBfloat16;
    Plane plane;
    Status status = as_plane(of_same_size, name, &plane);
    if (!status.ok()) return status;
    planes->data = plane.data;
    planes->dtype = view.dtype;
    planes->image_step = plane.image_step;
    planes->channel_step = plane.channel_step;
    planes->pixel_step = plane.anchor_step;
    return status;
}

Status check_shape(const TensorView& view, const std::string& name, const MaskDeviceLayout& layout,
                   std::int64_t channels) {
    if (view.rank == 4 && view.shape[0] == layout.image_count && (channels == 0 || view.shape[1] == channels)) {
        return Status();
    }
    return Status::invalid_argument(
        name + " has shape " + shape_of(view) + "; give [" + std::to_string(layout.image_count) + ", " +
        (channels == 0 ? std::string("channels") : std::to_string(channels)) + ", height, width]");
}

Status read_prototypes(const MaskDeviceLayout& layout, const TensorView& view, MaskLaunch* launch) {
    Status status = check_shape(view, "prototypes", layout, 0);
    if (!status.ok()) return status;
    status = as_device_planes(view, "prototypes", &launch->prototypes);
    if (!status.ok()) return status;
    if (view.shape[1] > kMostDeviceChannels) {
        return Status::invalid_argument("prototypes has " + std::to_string(view.shape[1]) + " channels; give at most " +
                                        std::to_string(kMostDeviceChannels) + " on a device");
    }
    if (view.shape[2] != layout.prototype_height || view.shape[3] != layout.prototype_width) {
        return Status::invalid_argument("prototypes has shape " + shape_of(view) + ", but layout has " +
                                        std::to_string(layout.prototype_height) + " x " +
                                        std::to_string(layout.prototype_width));
    }
    const auto furthest = [&](const DevicePlanes& planes) {
        return (view.shape[1] + 8) * planes.channel_step + (view.shape[2] * view.shape[3] - 1) * planes.pixel_step;
    };
    if (furthest(launch->prototypes) > kMostElements) {
        return Status::invalid_argument("prototypes " + shape_of(view) +
                                        " spans more than 2147483647 elements for an image; give a compact array");
    }
    launch->prototype_height = static_cast<std::int32_t>(layout.prototype_height);
    launch->prototype_width = static_cast<std::int32_t>(layout.prototype_width);
    launch->coefficients.channels = static_cast<std::int32_t>(view.shape[1]);
    return status;
}

Status read_rows(const MaskDeviceLayout& layout, const TensorView& rows, DeviceCoefficients* coefficients) {
    const std::string name = "coefficient_rows";
    if (rows.rank != 3 || rows.shape[0] != layout.image_count || rows.shape[1] != layout.max_detections ||
        rows.shape[2] != coefficients->channels) {
        return Status::invalid_argument(
            name + " has shape " + shape_of(rows) + "; give [" + std::to_string(layout.image_count) + ", " +
            std::to_string(layout.max_detections) + ", " + std::to_string(coefficients->channels) + "]");
    }
    // Channels beside places, as heads have them.
    TensorView turned = rows;
    std::swap(turned.shape[1], turned.shape[2]);
    std::swap(turned.strides[1], turned.strides[2]);
    coefficients->level_count = 1;
    coefficients->levels[0].pixel_count = static_cast<std::int32_t>(layout.max_detections);
    return as_device_planes(turned, name, &coefficients->levels[0]);
}

Status read_coefficients(const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                         DeviceCoefficients* coefficients) {
    if (sources.coefficient_level_count == 0) return read_rows(layout, sources.coefficient_rows, coefficients);
    if (sources.coefficient_level_count < 0 || sources.coefficient_level_count > kMostLevels ||
        sources.coefficient_levels == nullptr) {
        return Status::invalid_argument("coefficient_level_count is " +
                                        std::to_string(sources.coefficient_level_count) + "; give 1 to " +
                                        std::to_string(kMostLevels) + " levels, or 0 and coefficient_rows");
    }
    if (sources.anchor_indices == nullptr) {
        return Status::invalid_argument(
            "anchor_indices is a null pointer; give those of the detections, or "
            "coefficient_rows in place of levels");
    }
    if (reinterpret_cast<std::uintptr_t>(sources.anchor_indices) % 4 != 0) {
        return Status::invalid_argument("anchor_indices is not on a multiple of 4 bytes");
    }
    coefficients->anchor_indices = sources.anchor_indices;
    coefficients->level_count = static_cast<std::int32_t>(sources.coefficient_level_count);
    std::int64_t anchors = 0;
    for (int i = 0; i < coefficients->level_count; ++i) {
        const TensorView& view = sources.coefficient_levels[i];
        const std::string name = "coefficient_levels[" + std::to_string(i) + "]";
        DevicePlanes& planes = coefficients->levels[i];
        Status status = check_shape(view, name, layout, coefficients->channels);
        if (status.ok()) status = as_device_planes(view, name, &planes);
        if (!status.ok()) return status;
        planes.first_pixel = static_cast<std::int32_t>(anchors);
        planes.pixel_count = static_cast<std::int32_t>(view.shape[2] * view.shape[3]);
        anchors += view.shape[2] * view.shape[3];
        if (anchors > 0x7FFFFFFF) {
            return Status::invalid_argument("the coefficient levels have more than 2147483647 anchors in all");
        }
    }
    return Status();
}

Status check_pointer(const void* pointer, std::uintptr_t alignment, const char* name) {
    if (pointer != nullptr && reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0) return Status();
    if (pointer == nullptr) {
        return Status::invalid_argument(std::string(name) + " is a null pointer; give memory of the device");
    }
    return Status::invalid_argument(std::string(name) + " is not aligned to " + std::to_string(alignment) +
                                    " bytes; give memory that is");
}

std::uintptr_t element_bytes(MaskOutput output) {
    return output == MaskOutput::kBits ? 8 : output == MaskOutput::kRuns ? 4 : 1;
}

/// Whatever the launches write, they or those after them still read the rest.
Status check_all_apart(const MaskDeviceLayout& layout, const DeviceMaskSources& sources, const void* descriptors,
                       const DeviceMaskResults& results, const MemoryExtent& scratch, MaskOutput output) {
    const auto slots = static_cast<std::uintptr_t>(layout.image_count * layout.max_detections);
    std::vector<NamedExtent> all{
        {"results.arena",
         MemoryExtent(results.arena, static_cast<std::uintptr_t>(results.arena_capacity) * element_bytes(output))},
        {"results.records", MemoryExtent(results.records, slots * sizeof(MaskRecord))},
        {"results.summary", MemoryExtent(results.summary, sizeof(MaskSummary))},
        {"scratch", scratch},
    };
    const std::size_t written_count = all.size();
    all.push_back({"prototypes", MemoryExtent(sources.prototypes)});
    if (sources.coefficient_level_count == 0) {
        all.push_back({"coefficient_rows", MemoryExtent(sources.coefficient_rows)});
    } else {
        for (std::int64_t i = 0; i < sources.coefficient_level_count; ++i) {
            all.push_back(
                {"coefficient_levels[" + std::to_string(i) + "]", MemoryExtent(sources.coefficient_levels[i])});
        }
        all.push_back({"anchor_indices", MemoryExtent(sources.anchor_indices, slots * sizeof(std::int32_t))});
    }
    all.push_back({"boxes", MemoryExtent(sources.boxes, slots * 4 * sizeof(float))});
    all.push_back({"counts", MemoryExtent(sources.counts,
                                          static_cast<std::uintptr_t>(layout.image_count) * sizeof(std::int32_t))});
    all.push_back({"device_descriptors", MemoryExtent(descriptors, mask_descriptor_bytes(layout))});
    for (std::size_t written = 0; written < written_count; ++written) {
        for (std::size_t other = written + 1; other < all.size(); ++other) {
            Status status = check_apart(all[written], all[other]);
            if (!status.ok()) return status;
        }
    }
    return Status();
}

Status put_masks(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                 const void* descriptors, const DeviceMaskResults& results, void* scratch, MaskOutput output,
                 Stream stream) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_layout(layout);
        MaskLaunch launch;
        if (status.ok()) status = read_prototypes(layout, sources.prototypes, &launch);
        if (status.ok()) status = read_coefficients(layout, sources, &launch.coefficients);
        const std::pair<const void*, const char*> vectors[] = {{sources.boxes, "boxes"},
                                                               {descriptors, "device_descriptors"},
                                                               {results.summary, "results.summary"},
                                                               {results.records, "results.records"},
                                                               {results.arena, "results.arena"},
                                                               {scratch, "scratch"}};
        for (const auto& [pointer, name] : vectors) {
            if (status.ok()) status = check_pointer(pointer, 16, name);
        }
        if (status.ok()) status = check_pointer(sources.counts, 4, "counts");
        if (!status.ok()) return status;
        if (results.arena_capacity < 0) {
            return Status::invalid_argument("results.arena_capacity is " + std::to_string(results.arena_capacity) +
                                            "; give the elements that the arena has room for");
        }
        launch.descriptors = descriptors;
        launch.boxes = sources.boxes;
        launch.counts = sources.counts;
        launch.image_count = static_cast<std::int32_t>(layout.image_count);
        launch.max_detections = static_cast<std::int32_t>(layout.max_detections);
        launch.most_tiles =
            static_cast<std::int32_t>(layout.image_count * layout.max_detections * strips_of(layout.most_grid_width));
        launch.output = output;
        launch.results = results;
        const std::size_t scratch_bytes =
            lay_out(layout, output == MaskOutput::kRuns ? results.arena_capacity : 0, scratch, &launch.scratch);
        status = check_all_apart(layout, sources, descriptors, results, MemoryExtent(scratch, scratch_bytes), output);
        if (!status.ok()) return status;
        return RFK_LAUNCH_ON(device, "masks", kernels::launch_masks(launch, stream));
    });
}

}  // namespace

std::size_t mask_scratch_bytes(const MaskDeviceLayout& layout, std::int64_t arena_runs) {
    MaskScratch scratch;
    if (!check_layout(layout).ok() || arena_runs < 0) return 0;
    return lay_out(layout, arena_runs, nullptr, &scratch);
}

Status masks_to_bits_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                               const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                               Stream stream) {
    return put_masks(device, layout, sources, device_descriptors, results, scratch, MaskOutput::kBits, stream);
}

Status masks_to_runs_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                               const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                               Stream stream) {
    return put_masks(device, layout, sources, device_descriptors, results, scratch, MaskOutput::kRuns, stream);
}

Status masks_to_dense_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                                const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                                Stream stream) {
    return put_masks(device, layout, sources, device_descriptors, results, scratch, MaskOutput::kDense, stream);
}

}  // namespace rfkernels
