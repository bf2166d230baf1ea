#include "checks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "device/memory_extent.h"

namespace rfkernels {

Status check_size(const MaskStackSize& size, const std::string& name) {
    if (size.height < 1 || size.width < 1 || size.height > kMostMaskPixels / size.width) {
        return Status::invalid_argument(name + " are " + std::to_string(size.height) + " x " +
                                        std::to_string(size.width) + " pixels; give sides from 1, and at most " +
                                        std::to_string(kMostMaskPixels) + " pixels");
    }
    // So that the bytes of all of them can be counted.
    const std::int64_t most = std::numeric_limits<std::int64_t>::max() / 4 / (size.height * size.width);
    if (size.count < 0 || size.count > most) {
        return Status::invalid_argument("count of " + name + " is " + std::to_string(size.count) + "; give 0 to " +
                                        std::to_string(most));
    }
    return Status();
}

Status check_memory(const void* memory, const MaskStackSize& size, const std::string& name) {
    if (memory != nullptr || size.count == 0) return Status();
    return Status::invalid_argument(name + " is a null pointer; give memory for " + std::to_string(size.count) + " x " +
                                    std::to_string(size.height) + " x " + std::to_string(size.width) + " pixels");
}

Status check_params(const CleaningParams& params) {
    const auto check_area = [](std::int64_t area, const char* name) {
        if (area >= 0) return Status();
        return Status::invalid_argument(std::string(name) + " is " + std::to_string(area) +
                                        "; give pixels, or 0 to switch it off");
    };
    Status status = check_area(params.max_hole_area, "max_hole_area");
    if (status.ok()) status = check_area(params.max_sprinkle_area, "max_sprinkle_area");
    if (status.ok() && !(std::fabs(params.threshold) <= kFurthestThreshold)) {
        return Status::invalid_argument("threshold is " + std::to_string(params.threshold) +
                                        "; give a number from -2^24 to 2^24");
    }
    return status;
}

Status check_results_apart(const std::uint8_t* masks, const MaskStackSize& size, const std::int32_t* labels,
                           const std::int32_t* areas) {
    const auto pixels = static_cast<std::uintptr_t>(size.count * size.height * size.width);
    const NamedExtent from{"masks", MemoryExtent(masks, pixels)};
    const NamedExtent to_labels{"labels", MemoryExtent(labels, pixels * sizeof(std::int32_t))};
    const NamedExtent to_areas{"areas", MemoryExtent(areas, pixels * sizeof(std::int32_t))};
    Status status = check_apart(to_labels, from);
    if (status.ok()) status = check_apart(to_areas, from);
    if (status.ok()) status = check_apart(to_areas, to_labels);
    return status;
}

Status check_overlap(const void* logits, const void* out, const MaskStackSize& size, std::size_t element_bytes) {
    const auto from = reinterpret_cast<std::uintptr_t>(logits), to = reinterpret_cast<std::uintptr_t>(out);
    const auto bytes = static_cast<std::uintptr_t>(size.count * size.height * size.width) * element_bytes;
    if (from == to || std::max(from, to) - std::min(from, to) >= bytes) return Status();
    return Status::invalid_argument("out overlaps logits; give logits itself, or memory apart from it");
}

}  // namespace rfkernels
