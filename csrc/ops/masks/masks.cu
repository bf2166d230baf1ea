// Masks of detections on a device: windows and tiles are planned (mask_windows.h), tiles are drawn as bits in shared
// memory (mask_strips.h) and leave it as what is asked for (mask_outputs.h).

#include "device/kernel.h"
#include "device_masks.h"
#include "mask_outputs.h"
#include "mask_strips.h"
#include "mask_windows.h"

namespace rfkernels {
namespace {

/// Blocks that share the tiles of a batch, however many there are.
constexpr unsigned kMostDrawBlocks = 1024;
constexpr unsigned kMostGatherBlocks = 512;
/// On one multiprocessor, as shared memory has it; leaves 128 registers for a lane.
constexpr int kDrawBlocksAtOnce = 4;
constexpr unsigned kMostClearBlocks = 512;

/// The coefficient of one channel of a detection; NaN, which makes an empty mask, where the anchor does not exist.
__device__ __forceinline__ float coefficient_of(const DeviceCoefficients& from, int slot, int image, int place,
                                                int channel) {
    const std::int32_t anchor = from.anchor_indices == nullptr ? place : from.anchor_indices[slot];
    // Selected without an index that is known late: the levels stay where arguments are.
    DevicePlanes planes = from.levels[0];
#pragma unroll
    for (int level = 1; level < kMostLevels; ++level) {
        if (level < from.level_count && anchor >= from.levels[level].first_pixel) planes = from.levels[level];
    }
    const std::int32_t pixel = anchor - planes.first_pixel;
    if (pixel < 0 || pixel >= planes.pixel_count) return __uint_as_float(0x7FC00000U);
    const std::int64_t element = image * planes.image_step + channel * planes.channel_step + pixel * planes.pixel_step;
    if (planes.dtype == DataType::kFloat16) return to_float(static_cast<const __half*>(planes.data)[element]);
    if (planes.dtype == DataType::kBfloat16) return to_float(static_cast<const std::uint16_t*>(planes.data)[element]);
    return static_cast<const float*>(planes.data)[element];
}

/// What drawing a tile takes.
__device__ __forceinline__ Strip read_strip(const MaskLaunch& launch, int tile) {
    const int2 at = load_vector<int2>(launch.scratch.tiles + tile);
    const MaskWindow* window = launch.scratch.windows + at.x;
    const int4 size = load_vector<int4>(&window->first_column);
    const int4 kept = load_vector<int4>(&window->kept_first_column);
    const int image = window->image;
    const MaskDescriptor* descriptor = static_cast<const MaskDescriptor*>(launch.descriptors) + image;
    const std::int32_t* tables = static_cast<const std::int32_t*>(launch.descriptors);
    const int element_bytes = launch.prototypes.dtype == DataType::kFloat32 ? 4 : 2;
    Strip strip;
    strip.prototypes = static_cast<const unsigned char*>(launch.prototypes.data) +
                       image * launch.prototypes.image_step * element_bytes;
    strip.channel_step = static_cast<int>(launch.prototypes.channel_step);
    strip.pixel_step = static_cast<int>(launch.prototypes.pixel_step);
    strip.dtype = launch.prototypes.dtype;
    strip.channels = launch.coefficients.channels;
    strip.prototype_width = launch.prototype_width;
    strip.first_row = size.z;
    strip.rows = size.w;
    strip.kept_first_column = kept.x;
    strip.kept_end_column = kept.y;
    strip.kept_first_row = kept.z;
    strip.kept_end_row = kept.w;
    strip.cut_probabilities = descriptor->cut_probabilities != 0;
    strip.row_first = tables + descriptor->y.first;
    strip.row_run_ends = tables + descriptor->y.run_ends;
    strip.row_weights = reinterpret_cast<const float*>(tables + descriptor->y.weights);
    strip.row_taps = descriptor->y.taps;
    strip.column_taps = descriptor->x.taps;
    const int lane = static_cast<int>(threadIdx.x);
    const int columns = min(kStripColumns, size.y - at.y);
    const int own = min(lane, columns - 1);
    const std::int32_t* column_first = tables + descriptor->x.first + size.x + at.y;
    strip.source_first_column = column_first[0];
    strip.source_end_column = column_first[columns - 1] + strip.column_taps;
    strip.has_column = lane < columns;
    strip.column_first = column_first[own];
    strip.column_weights = reinterpret_cast<const float*>(tables + descriptor->x.weights) +
                           static_cast<std::int64_t>(size.x + at.y + own) * strip.column_taps;
    return strip;
}

/// The coefficients of a tile's detection to shared memory.
__device__ __forceinline__ void stage_coefficients(const MaskLaunch& launch, int tile, float* coefficients) {
    const int slot = launch.scratch.tiles[tile].slot;
    const MaskWindow* window = launch.scratch.windows + slot;
    const int image = window->image, place = window->place;
    for (int channel = static_cast<int>(threadIdx.x); channel < launch.coefficients.channels; channel += kStripColumns)
        coefficients[channel] = coefficient_of(launch.coefficients, slot, image, place, channel);
}

// A block draws every gridDim.x-th tile. Shared memory is reused from tile to tile: coefficients are written when all
// lanes are past the last barrier of draw_rows, after which none reads them.
template <MaskOutput kOutput>
__global__ void __launch_bounds__(kStripColumns, kDrawBlocksAtOnce) draw_tiles(MaskLaunch launch) {
    RFK_SHARED(float, coefficients, kMostDeviceChannels);
    RFK_SHARED(float, values, kStagedValues);
    RFK_SHARED(float, open_sums, kMostOpenRows* kStripColumns);
    RFK_SHARED(std::uint32_t, words, kChunkWords* kStripColumns);
    RFK_SHARED(RunReservation, reservation, 1);
    const StripMemory memory{coefficients, values, open_sums, words};
    const int tiles = static_cast<int>(launch.scratch.totals->tiles);
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
        stage_coefficients(launch, tile, coefficients);
        const Strip strip = read_strip(launch, tile);
        if (kOutput == MaskOutput::kRuns) {
            write_runs(launch, strip, memory, tile, reservation);
        } else {
            for (int row = 0; row < strip.rows; row += kChunkRows) {
                const int rows = min(kChunkRows, strip.rows - row);
                draw_rows(strip, memory, strip.first_row + row, strip.first_row + row + rows);
                const StripPlace place = read_place(launch, tile);
                if (kOutput == MaskOutput::kBits) {
                    __syncthreads();  // words of all columns are complete before rows are read across them
                    write_bits(launch, place, memory, row, rows);
                } else {
                    write_dense(launch, place, memory, row, rows);
                }
            }
        }
    }
}

}  // namespace

namespace RFK_DEVICE {

bool launch_masks(const MaskLaunch& launch, Stream stream) {
    const unsigned slots = static_cast<unsigned>(launch.image_count * launch.max_detections);
    const unsigned most_tiles = static_cast<unsigned>(launch.most_tiles);
    const unsigned draw_blocks = most_tiles < kMostDrawBlocks ? most_tiles : kMostDrawBlocks;
    const unsigned gather_blocks = slots < kMostGatherBlocks ? slots : kMostGatherBlocks;
    const unsigned plan_lanes = slots < kMostPlanLanes ? (slots + 31U) / 32U * 32U : kMostPlanLanes;
    if (!RFK_LAUNCH(plan_windows, (LaunchShape{{1}, {plan_lanes}, 0}), stream, launch)) return false;
    if (launch.output == MaskOutput::kBits) {
        return RFK_LAUNCH(draw_tiles<MaskOutput::kBits>, (LaunchShape{{draw_blocks}, {kStripColumns}, 0}), stream,
                          launch);
    }
    if (launch.output == MaskOutput::kRuns) {
        return RFK_LAUNCH(draw_tiles<MaskOutput::kRuns>, (LaunchShape{{draw_blocks}, {kStripColumns}, 0}), stream,
                          launch) &&
               RFK_LAUNCH(gather_runs, (LaunchShape{{gather_blocks}, {kStripColumns}, 0}), stream, launch);
    }
    const std::int64_t bytes_at_once = std::int64_t{16} * kClearLanes;
    const std::int64_t parts = launch.results.arena_capacity / bytes_at_once + 1;
    const unsigned clear_blocks = parts < kMostClearBlocks ? static_cast<unsigned>(parts) : kMostClearBlocks;
    return RFK_LAUNCH(clear_dense, (LaunchShape{{clear_blocks}, {kClearLanes}, 0}), stream, launch) &&
           RFK_LAUNCH(draw_tiles<MaskOutput::kDense>, (LaunchShape{{draw_blocks}, {kStripColumns}, 0}), stream, launch);
}

}  // namespace RFK_DEVICE
}  // namespace rfkernels
