#pragma once

// What the host and the kernels of connected_components.cu and tiled_components.cu agree on: plain data.

#include <cstddef>
#include <cstdint>

#include "rfkernels/connected_components.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// Masks up to this side are labelled by one block each; larger ones in tiles of this side.
constexpr int kTileSide = 256;
/// The word pairs of a tile: 32 pixels of two rows each.
constexpr int kTilePairs = kTileSide * kTileSide / 64;

struct alignas(8) WordPair {
    std::uint32_t upper;
    std::uint32_t lower;
};

/// Masks of one size.
struct DeviceMasks {
    std::int32_t count;
    std::int32_t height;
    std::int32_t width;
    std::int32_t tiles_across;
    std::int32_t tiles;  ///< of a mask
};

/// What is done to components of one side of the threshold.
struct DeviceCleaningSide {
    std::int32_t max_area;  ///< 0: nothing
    float value;            ///< in place of the logits of smaller ones
};

/// The foreground is side 0, the background side 1.
constexpr int kSides = 2;

struct DeviceCleaning {
    float threshold;
    DeviceCleaningSide sprinkles;  ///< of the foreground
    DeviceCleaningSide holes;      ///< of the background
};

/// Memory that lasts from one launch to the next, for masks of more than one tile. Pixels are counted in their mask.
struct DeviceComponentScratch {
    WordPair* pairs;  ///< [count][sides][tiles][kTilePairs]
    /// [count][height * width] Where a run begins the first pixel of a run of the same component, of its own at roots.
    /// A pixel is on one side at most, so one array serves both. For labels it is the output itself.
    std::int32_t* parents;
    std::int32_t* areas;  ///< likewise, where a component begins its pixels, 0 where any other run does
};

#define RFK_DECLARE_LAUNCH(device)                                                                                    \
    namespace device {                                                                                                \
    bool launch_labels(const std::uint8_t* masks, const DeviceMasks& size, std::int32_t* labels, std::int32_t* areas, \
                       Stream stream);                                                                                \
    bool launch_tiled_labels(const std::uint8_t* masks, const DeviceMasks& size,                                      \
                             const DeviceComponentScratch& scratch, Stream stream);                                   \
    bool launch_cleaning(const void* logits, DataType dtype, const DeviceMasks& size, const DeviceCleaning& cleaning, \
                         void* out, Stream stream);                                                                   \
    bool launch_tiled_cleaning(const void* logits, DataType dtype, const DeviceMasks& size,                           \
                               const DeviceCleaning& cleaning, const DeviceComponentScratch& scratch, void* out,      \
                               Stream stream);                                                                        \
    }
RFK_DECLARE_LAUNCH(cuda)
RFK_DECLARE_LAUNCH(emulated)
#undef RFK_DECLARE_LAUNCH

}  // namespace rfkernels
