#include "ops/connected_components/connected_components_device.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "device/guarded.h"
#include "device/launch_on.h"
#include "device/memory_extent.h"
#include "ops/connected_components/checks.h"
#include "ops/connected_components/component_arithmetic.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kScratchAlignment = 16;

std::int64_t tiles_along(std::int64_t side) {
    return (side + kTileSide - 1) / kTileSide;
}

bool is_one_tile(const MaskStackSize& size) {
    return size.height <= kTileSide && size.width <= kTileSide;
}

std::size_t pair_bytes(const MaskStackSize& size, int sides) {
    return static_cast<std::size_t>(size.count * sides * tiles_along(size.height) * tiles_along(size.width)) *
           kTilePairs * sizeof(WordPair);
}

std::size_t pixels(const MaskStackSize& size) {
    return static_cast<std::size_t>(size.count * size.height * size.width);
}

/// A launch has a block for each tile.
Status describe_masks(const MaskStackSize& size, const std::string& name, DeviceMasks* masks) {
    const std::int64_t tiles_across = tiles_along(size.width);
    const std::int64_t tiles = tiles_along(size.height) * tiles_across;
    if (size.count > kMostInt32 / tiles) {
        return Status::invalid_argument("count of " + name + " is " + std::to_string(size.count) +
                                        "; a device takes at most " + std::to_string(kMostInt32 / tiles) +
                                        " of this size");
    }
    masks->count = static_cast<std::int32_t>(size.count);
    masks->height = static_cast<std::int32_t>(size.height);
    masks->width = static_cast<std::int32_t>(size.width);
    masks->tiles_across = static_cast<std::int32_t>(tiles_across);
    masks->tiles = static_cast<std::int32_t>(tiles);
    return Status();
}

/// Sizes that are refused need none, and their bytes could not be counted.
bool needs_scratch(const MaskStackSize& size) {
    DeviceMasks described{};
    return check_size(size, "masks").ok() && !is_one_tile(size) && describe_masks(size, "masks", &described).ok();
}

Status check_alignment(const void* memory, std::size_t bytes, const std::string& name) {
    if (reinterpret_cast<std::uintptr_t>(memory) % bytes == 0) return Status();
    return Status::invalid_argument(name + " is no multiple of " + std::to_string(bytes) + " bytes; copy it");
}

Status check_scratch(const void* scratch, std::size_t bytes, std::size_t needed, const std::string& function) {
    if (needed == 0) return Status();
    if (scratch == nullptr || bytes < needed) {
        return Status::invalid_argument("scratch has " + std::to_string(scratch == nullptr ? 0 : bytes) +
                                        " bytes, these masks take " + std::to_string(needed) + "; give what " +
                                        function + " says");
    }
    return check_alignment(scratch, kScratchAlignment, "scratch");
}

Status check_scratch_apart(const void* scratch, std::size_t bytes, const std::vector<NamedExtent>& others) {
    const NamedExtent written{"scratch", MemoryExtent(scratch, bytes)};
    Status status;
    for (const NamedExtent& other : others) {
        if (status.ok()) status = check_apart(written, other);
    }
    return status;
}

DeviceCleaningSide cleaning_side(std::int64_t max_area, float value) {
    return DeviceCleaningSide{static_cast<std::int32_t>(std::min(max_area, kMostInt32)), value};
}

}  // namespace

std::size_t connected_components_scratch_bytes(const MaskStackSize& size) {
    return needs_scratch(size) ? pair_bytes(size, 1) : 0;
}

std::size_t clean_mask_logits_scratch_bytes(const MaskStackSize& size) {
    if (!needs_scratch(size)) return 0;
    return pair_bytes(size, kSides) + 2 * sizeof(std::int32_t) * pixels(size);
}

Status connected_components_on_device(Device& device, const std::uint8_t* masks, const MaskStackSize& size,
                                      std::int32_t* labels, std::int32_t* areas, void* scratch,
                                      std::size_t scratch_bytes, Stream stream) {
    return guarded("connected_components: no memory for a launch", [&]() -> Status {
        DeviceMasks described{};
        Status status = check_size(size, "masks");
        if (status.ok()) status = check_memory(masks, size, "masks");
        if (status.ok()) status = check_memory(labels, size, "labels");
        if (status.ok()) status = check_memory(areas, size, "areas");
        if (status.ok()) status = check_alignment(labels, sizeof(std::int32_t), "labels");
        if (status.ok()) status = check_alignment(areas, sizeof(std::int32_t), "areas");
        if (status.ok()) status = describe_masks(size, "masks", &described);
        if (status.ok()) {
            status = check_scratch(scratch, scratch_bytes, connected_components_scratch_bytes(size),
                                   "connected_components_scratch_bytes");
        }
        if (status.ok()) status = check_results_apart(masks, size, labels, areas);
        if (status.ok()) {
            const std::size_t bytes = sizeof(std::int32_t) * pixels(size);
            status = check_scratch_apart(
                scratch, connected_components_scratch_bytes(size),
                {{"masks", {masks, pixels(size)}}, {"labels", {labels, bytes}}, {"areas", {areas, bytes}}});
        }
        if (!status.ok() || size.count == 0) return status;
        // Labels and areas are whole at the end only: until then they hold what the tiles' launches know.
        const DeviceComponentScratch parts{static_cast<WordPair*>(scratch), labels, areas};
        return RFK_LAUNCH_ON(device, "connected_components",
                             is_one_tile(size) ? kernels::launch_labels(masks, described, labels, areas, stream)
                                               : kernels::launch_tiled_labels(masks, described, parts, stream));
    });
}

Status clean_mask_logits_on_device(Device& device, const void* logits, DataType dtype, const MaskStackSize& size,
                                   const CleaningParams& params, void* out, void* scratch, std::size_t scratch_bytes,
                                   Stream stream) {
    return guarded("clean_mask_logits: no memory for a launch", [&]() -> Status {
        if (dtype != DataType::kFloat32 && dtype != DataType::kFloat16) {
            return Status::invalid_argument("logits are neither float32 nor float16; convert them first");
        }
        const std::size_t element_bytes = dtype == DataType::kFloat32 ? sizeof(float) : sizeof(std::uint16_t);
        DeviceMasks described{};
        Status status = check_size(size, "logits");
        if (status.ok()) status = check_memory(logits, size, "logits");
        if (status.ok()) status = check_memory(out, size, "out");
        if (status.ok()) status = check_params(params);
        if (status.ok() && dtype == DataType::kFloat16 && std::fabs(params.threshold) > kFurthestHalfThreshold) {
            status = Status::invalid_argument("threshold is " + std::to_string(params.threshold) +
                                              "; give a number from -4096 to 4096 for float16 logits");
        }
        if (status.ok()) status = check_overlap(logits, out, size, element_bytes);
        if (status.ok()) status = check_alignment(logits, element_bytes, "logits");
        if (status.ok()) status = check_alignment(out, element_bytes, "out");
        if (status.ok()) status = describe_masks(size, "logits", &described);
        if (status.ok()) {
            status = check_scratch(scratch, scratch_bytes, clean_mask_logits_scratch_bytes(size),
                                   "clean_mask_logits_scratch_bytes");
        }
        if (status.ok()) {
            const std::size_t bytes = element_bytes * pixels(size);
            status = check_scratch_apart(scratch, clean_mask_logits_scratch_bytes(size),
                                         {{"logits", {logits, bytes}}, {"out", {out, bytes}}});
        }
        if (!status.ok() || size.count == 0) return status;
        if (params.max_hole_area == 0 && params.max_sprinkle_area == 0) {
            if (out == logits) return status;
            return device.copy(out, logits, pixels(size) * element_bytes, CopyDirection::kWithinDevice, stream);
        }
        const DeviceCleaning cleaning{params.threshold,
                                      cleaning_side(params.max_sprinkle_area, removed_sprinkle(params.threshold)),
                                      cleaning_side(params.max_hole_area, filled_hole(params.threshold))};
        DeviceComponentScratch parts{};
        if (!is_one_tile(size)) {
            unsigned char* const memory = static_cast<unsigned char*>(scratch);
            parts.pairs = reinterpret_cast<WordPair*>(memory);
            parts.parents = reinterpret_cast<std::int32_t*>(memory + pair_bytes(size, kSides));
            parts.areas = parts.parents + pixels(size);
        }
        return RFK_LAUNCH_ON(
            device, "clean_mask_logits",
            is_one_tile(size) ? kernels::launch_cleaning(logits, dtype, described, cleaning, out, stream)
                              : kernels::launch_tiled_cleaning(logits, dtype, described, cleaning, parts, out, stream));
    });
}

}  // namespace rfkernels
