#pragma once

// What the host and the kernels of masks share: plain data in memory of the device, and how the kernels are launched.

#include <cstddef>
#include <cstdint>

#include "rfkernels/masks.h"

namespace rfkernels {

/// One axis of a grid. Tables are of `Resampling`, of the resized picture's pixels; their places count from the begin
/// of the block of descriptors in units of 4 bytes.
struct AxisDescriptor {
    std::int32_t grid_size = 0;
    std::int32_t resized_size = 0;
    std::int32_t offset = 0;  ///< of the resized picture in the grid
    std::int32_t taps = 0;
    std::int32_t first = 0;     ///< int32 [resized_size]
    std::int32_t run_ends = 0;  ///< int32 [resized_size]; of the vertical axis alone
    std::int32_t weights = 0;   ///< float32 [resized_size, taps]
    float box_before = 0.0f;
    float box_scale = 1.0f;
    float box_offset = 0.0f;
};

/// One image's grid.
struct MaskDescriptor {
    AxisDescriptor x;
    AxisDescriptor y;
    std::int32_t cut_probabilities = 0;
    std::int32_t reserved = 0;
    std::int64_t dense_first = 0;  ///< bytes before the image's masks, where those are dense
};

/// Channels of a device's prototypes: their coefficients are kept in shared memory.
constexpr std::int64_t kMostDeviceChannels = 256;
constexpr int kMostLevels = 8;

/// A tensor as channels x pixels, steps in elements.
struct DevicePlanes {
    const void* data = nullptr;
    std::int64_t image_step = 0;
    std::int64_t channel_step = 0;
    std::int64_t pixel_step = 0;
    std::int32_t first_pixel = 0;  ///< among those of all levels
    std::int32_t pixel_count = 0;
    DataType dtype = DataType::kFloat32;
};

/// Where coefficients lie. Rows are one level whose pixels are the places of an image.
struct DeviceCoefficients {
    DevicePlanes levels[kMostLevels];
    std::int32_t level_count = 0;
    std::int32_t channels = 0;
    const std::int32_t* anchor_indices = nullptr;  ///< null: place k has row k
};

/// What a block draws at a time: so many columns of a window, a lane for each.
constexpr int kStripColumns = 128;

/// One detection's window as `plan_windows` leaves it, in pixels of the resized picture and of the prototypes. Four
/// vectors of 16 bytes.
struct MaskWindow {
    std::int32_t first_column = 0;
    std::int32_t width = 0;
    std::int32_t first_row = 0;
    std::int32_t height = 0;
    std::int32_t kept_first_column = 0;  ///< prototype pixels that the box leaves
    std::int32_t kept_end_column = 0;
    std::int32_t kept_first_row = 0;
    std::int32_t kept_end_row = 0;
    std::int64_t first_element = 0;  ///< in the arena: of bits and of dense masks
    std::int32_t first_tile = 0;
    std::int32_t image = 0;
    std::int32_t place = 0;  ///< among the image's
    std::int32_t reserved[3] = {};
};

/// Which columns of which window; in the order of the detections.
struct MaskTile {
    std::int32_t slot = 0;  ///< image * max_detections + place
    std::int32_t first_column = 0;
};

/// A tile's runs on their way to the arena.
struct TileRuns {
    std::int64_t first = 0;  ///< in `MaskScratch::runs`
    std::int64_t count = 0;
};

struct MaskTotals {
    std::int64_t tiles = 0;            ///< to be drawn
    std::int64_t elements = 0;         ///< of the arena
    unsigned long long run_count = 0;  ///< reserved in `runs` so far; of the type that atomicAdd takes
    std::int64_t reserved = 0;
};

/// Memory between the launches of one call.
struct MaskScratch {
    MaskTotals* totals = nullptr;
    MaskWindow* windows = nullptr;             ///< [slots]
    unsigned long long* run_counts = nullptr;  ///< [slots]
    MaskTile* tiles = nullptr;                 ///< [slots * strips of the widest grid]
    TileRuns* tile_runs = nullptr;             ///< likewise
    std::int32_t* runs = nullptr;              ///< [arena_capacity]
};

enum class MaskOutput : std::int32_t { kBits, kRuns, kDense };

struct MaskLaunch {
    const void* descriptors = nullptr;
    DevicePlanes prototypes;
    std::int32_t prototype_width = 0;
    std::int32_t prototype_height = 0;
    DeviceCoefficients coefficients;
    const float* boxes = nullptr;
    const std::int32_t* counts = nullptr;
    std::int32_t image_count = 0;
    std::int32_t max_detections = 0;
    std::int32_t most_tiles = 0;
    MaskOutput output = MaskOutput::kBits;
    DeviceMaskResults results;
    MaskScratch scratch;
};

namespace cuda {
bool launch_masks(const MaskLaunch& launch, Stream stream);
}
namespace emulated {
bool launch_masks(const MaskLaunch& launch, Stream stream);
}

/// Whether its sizes are possible.
Status check_layout(const MaskDeviceLayout& layout);

}  // namespace rfkernels
