#include <algorithm>
#include <cstring>
#include <limits>

#include "device/guarded.h"
#include "device_masks.h"
#include "mask_window.h"
#include "resampling.h"

namespace rfkernels {
namespace {

constexpr const char* kNoMemory = "not enough memory to describe masks";
constexpr std::int64_t kMostSlots = 1 << 20;
constexpr std::int64_t kMostTiles = 1 << 30;
constexpr std::int64_t kLongestSide = 1 << 20;  // that of plan_mask_grid

/// Numbers of 4 bytes that one axis of a grid takes at most: a picture that is enlarged has 3 taps, one that is made
/// smaller takes each prototype pixel for two results, and a few more. Twice that, for a picture that reaches beyond
/// them.
std::int64_t most_numbers(std::int64_t grid_size, std::int64_t prototype_size) {
    return grid_size * 6 + (prototype_size + 4) * 4;
}

std::int64_t most_numbers(const MaskDeviceLayout& layout) {
    return most_numbers(layout.most_grid_width, layout.prototype_width) +
           most_numbers(layout.most_grid_height, layout.prototype_height);
}

/// Writes tables one after the other.
struct TableWriter {
    unsigned char* begin = nullptr;
    std::int64_t used = 0;  ///< numbers of 4 bytes
    std::int64_t end = 0;

    bool has_room(std::int64_t count) const { return count <= end - used; }

    template <typename Number>
    std::int32_t add(const Number* numbers, std::int64_t count) {
        static_assert(sizeof(Number) == 4, "tables hold numbers of 4 bytes");
        const std::int64_t first = used;
        std::memcpy(begin + first * 4, numbers, static_cast<std::size_t>(count) * 4);
        used += count;
        return static_cast<std::int32_t>(first);
    }
};

/// An axis of a grid on its way into a descriptor.
struct AxisSource {
    std::int64_t grid_size, offset;
    double box_before, box_scale, box_offset;
    const Resampling& resampling;
    bool has_run_ends;
};

/// False where there is no room.
bool describe_axis(const AxisSource& source, TableWriter* tables, AxisDescriptor* axis) {
    const Resampling& resampling = source.resampling;
    const std::int64_t size = resampling.size, taps = resampling.taps;
    if (!tables->has_room(size * (taps + (source.has_run_ends ? 2 : 1)))) return false;
    axis->grid_size = static_cast<std::int32_t>(source.grid_size);
    axis->resized_size = static_cast<std::int32_t>(size);
    axis->offset = static_cast<std::int32_t>(source.offset);
    axis->taps = resampling.taps;
    axis->box_before = static_cast<float>(source.box_before);
    axis->box_scale = static_cast<float>(source.box_scale);
    axis->box_offset = static_cast<float>(source.box_offset);
    axis->first = tables->add(resampling.first.data(), size);
    if (source.has_run_ends) axis->run_ends = tables->add(resampling.run_ends.data(), size);
    std::vector<float> weights(static_cast<std::size_t>(size * taps));
    for (std::int64_t i = 0; i < size; ++i) {
        for (std::int64_t tap = 0; tap < taps; ++tap) {
            weights[static_cast<std::size_t>(i * taps + tap)] =
                resampling.weights[static_cast<std::size_t>(tap * resampling.weight_step + i)];
        }
    }
    axis->weights = tables->add(weights.data(), size * taps);
    return true;
}

Status check_described(const MaskDeviceLayout& layout, const MaskGrid& grid, const std::string& name) {
    Status status = check_grid(grid);
    if (!status.ok()) return Status::invalid_argument(name + ": " + status.message());
    if (grid.prototype_height != layout.prototype_height || grid.prototype_width != layout.prototype_width) {
        return Status::invalid_argument(
            name + " is planned for prototypes of " + std::to_string(grid.prototype_height) + " x " +
            std::to_string(grid.prototype_width) + ", but layout has " + std::to_string(layout.prototype_height) +
            " x " + std::to_string(layout.prototype_width));
    }
    if (grid.height > layout.most_grid_height || grid.width > layout.most_grid_width) {
        return Status::invalid_argument(name + " is " + std::to_string(grid.height) + " x " +
                                        std::to_string(grid.width) + "; layout has room for " +
                                        std::to_string(layout.most_grid_height) + " x " +
                                        std::to_string(layout.most_grid_width) + ", make it larger");
    }
    return Status();
}

}  // namespace

Status check_layout(const MaskDeviceLayout& layout) {
    const auto check = [](std::int64_t value, std::int64_t most, const char* name) {
        if (value >= 1 && value <= most) return Status();
        return Status::invalid_argument("layout." + std::string(name) + " is " + std::to_string(value) +
                                        "; give 1 to " + std::to_string(most));
    };
    Status status = check(layout.image_count, kMostSlots, "image_count");
    if (status.ok()) status = check(layout.max_detections, kMostSlots, "max_detections");
    if (status.ok()) status = check(layout.prototype_height, kLongestSide, "prototype_height");
    if (status.ok()) status = check(layout.prototype_width, kLongestSide, "prototype_width");
    if (status.ok()) status = check(layout.most_grid_height, kLongestSide, "most_grid_height");
    if (status.ok()) status = check(layout.most_grid_width, kLongestSide, "most_grid_width");
    if (!status.ok()) return status;
    const std::int64_t slots = layout.image_count * layout.max_detections;
    const std::int64_t strips = (layout.most_grid_width + kStripColumns - 1) / kStripColumns;
    const std::int64_t numbers = layout.image_count * (most_numbers(layout) + 64);
    if (slots > kMostSlots || slots * strips > kMostTiles || numbers > std::numeric_limits<std::int32_t>::max()) {
        return Status::invalid_argument("layout has " + std::to_string(layout.image_count) + " images of " +
                                        std::to_string(layout.max_detections) + " detections in grids of up to " +
                                        std::to_string(layout.most_grid_width) +
                                        " columns, which is too much at once; make it smaller");
    }
    return Status();
}

std::size_t mask_descriptor_bytes(const MaskDeviceLayout& layout) {
    if (!check_layout(layout).ok()) return 0;
    const std::int64_t bytes =
        layout.image_count * (static_cast<std::int64_t>(sizeof(MaskDescriptor)) + most_numbers(layout) * 4);
    return static_cast<std::size_t>((bytes + 15) / 16 * 16);
}

Status describe_masks(const MaskDeviceLayout& layout, const MaskGrid* grids, void* host_descriptors) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_layout(layout);
        if (!status.ok()) return status;
        if (grids == nullptr || host_descriptors == nullptr) {
            return Status::invalid_argument(
                "grids or host_descriptors is a null pointer; give a grid for each image "
                "and mask_descriptor_bytes of memory");
        }
        const std::size_t bytes = mask_descriptor_bytes(layout);
        std::vector<MaskDescriptor> descriptors(static_cast<std::size_t>(layout.image_count));
        TableWriter tables{static_cast<unsigned char*>(host_descriptors),
                           static_cast<std::int64_t>(descriptors.size() * sizeof(MaskDescriptor) / 4),
                           static_cast<std::int64_t>(bytes / 4)};
        std::int64_t dense_first = 0;
        for (std::size_t i = 0; i < descriptors.size(); ++i) {
            const MaskGrid& grid = grids[i];
            const std::string name = "grids[" + std::to_string(i) + "]";
            status = check_described(layout, grid, name);
            if (!status.ok()) return status;
            const Resampling columns = plan_resampling(grid.source.x, grid.source.width, grid.resized_width,
                                                       grid.antialias, grid.presampling, grid.prototype_width);
            const Resampling rows = plan_resampling(grid.source.y, grid.source.height, grid.resized_height,
                                                    grid.antialias, grid.presampling, grid.prototype_height);
            MaskDescriptor& descriptor = descriptors[i];
            const AxisSource x{grid.width,        grid.left, grid.box_left, grid.box_scale_x,
                               grid.box_offset_x, columns,   false};
            const AxisSource y{grid.height, grid.top, grid.box_top, grid.box_scale_y, grid.box_offset_y, rows, true};
            if (!describe_axis(x, &tables, &descriptor.x) || !describe_axis(y, &tables, &descriptor.y)) {
                return Status::invalid_argument(name +
                                                " takes more prototype pixels for a pixel of the mask than there "
                                                "are; give a placement in the network's input");
            }
            descriptor.cut_probabilities = grid.cut_probabilities ? 1 : 0;
            descriptor.dense_first = dense_first;
            dense_first += (layout.max_detections * grid.width * grid.height + 15) / 16 * 16;
        }
        std::memcpy(host_descriptors, descriptors.data(), descriptors.size() * sizeof(MaskDescriptor));
        std::memset(static_cast<unsigned char*>(host_descriptors) + tables.used * 4, 0,
                    bytes - static_cast<std::size_t>(tables.used) * 4);
        return status;
    });
}

}  // namespace rfkernels
