#pragma once

// Kernel code, for masks.cu alone: how a strip's bits leave shared memory.

#include "device/kernel.h"
#include "device_masks.h"
#include "mask_strips.h"

namespace rfkernels {
namespace {

constexpr int kStripWarps = kStripColumns / 32;
constexpr int kClearLanes = 256;

/// Where a strip lies. Rows and columns of the grid unless said otherwise.
struct StripPlace {
    int slot;
    std::int64_t first_element;  ///< the mask's in the arena
    int strip_column;            ///< in the window
    int columns;
    int rows;  ///< of the window
    int grid_column;
    int grid_row;
    int grid_width;
    int grid_height;
};

/// Where its bits go. Read when they are there: drawing needs the registers.
__device__ __forceinline__ StripPlace read_place(const MaskLaunch& launch, int tile) {
    const int2 at = load_vector<int2>(launch.scratch.tiles + tile);
    const MaskWindow* window = launch.scratch.windows + at.x;
    const int4 size = load_vector<int4>(&window->first_column);
    const MaskDescriptor* descriptor = static_cast<const MaskDescriptor*>(launch.descriptors) + window->image;
    StripPlace place;
    place.slot = at.x;
    place.first_element = window->first_element;
    place.strip_column = at.y;
    place.columns = min(kStripColumns, size.y - at.y);
    place.rows = size.w;
    place.grid_column = descriptor->x.offset + size.x + at.y;
    place.grid_row = descriptor->y.offset + size.z;
    place.grid_width = descriptor->x.grid_size;
    place.grid_height = descriptor->y.grid_size;
    return place;
}

/// Turns a block of 32 x 32 bits over, a row in each lane of the warp: bit i of lane j becomes bit j of lane i.
/// Source: Hacker's Delight, section 7-3: halves of ever smaller blocks change places.
__device__ __forceinline__ std::uint32_t transposed(std::uint32_t row) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    std::uint32_t mask = 0x0000FFFFU;
#pragma unroll
    for (int size = 16; size > 0; size /= 2) {
        const std::uint32_t other = __shfl_xor_sync(0xFFFFFFFFU, row, size);
        row = (lane & size) == 0 ? (row & mask) | (other & mask) << size : (row & ~mask) | (other >> size & mask);
        mask ^= mask << (size / 2);
    }
    return row;
}

/// Rows [first_row, first_row + rows) of the window, which stand in memory.words: a warp turns 32 rows of 64 columns
/// over at a time.
__device__ __forceinline__ void write_bits(const MaskLaunch& launch, const StripPlace& place, const StripMemory& memory,
                                           int first_row, int rows) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int row_words = (place.columns + 63) / 64;
    std::uint64_t* arena = static_cast<std::uint64_t*>(launch.results.arena) + place.first_element;
    for (int part = warp; part < (rows + 31) / 32 * row_words; part += kStripWarps) {
        const int block = part / row_words, word = part - block * row_words;
        const std::uint32_t* columns = memory.words + block * kStripColumns + word * 64 + lane;
        const std::uint32_t low = transposed(columns[0]);
        const std::uint32_t high = transposed(columns[32]);
        const int row = block * 32 + lane;
        const std::int64_t column_word = place.strip_column / 64 + word;
        if (row < rows) store_vector(arena + column_word * place.rows + first_row + row, make_uint2(low, high));
    }
}

/// Rows of the window to bytes; a lane writes its own column, and clear_dense has written everything around it.
__device__ __forceinline__ void write_dense(const MaskLaunch& launch, const StripPlace& place,
                                            const StripMemory& memory, int first_row, int rows) {
    const int lane = static_cast<int>(threadIdx.x);
    if (lane >= place.columns) return;
    std::uint8_t* to = static_cast<std::uint8_t*>(launch.results.arena) + place.first_element +
                       static_cast<std::int64_t>(place.grid_row + first_row) * place.grid_width + place.grid_column +
                       lane;
    for (int block = 0; block < rows; block += 32) {
        const std::uint32_t word = memory.words[block / 32 * kStripColumns + lane];
        const int end = min(32, rows - block);
        for (int row = 0; row < end; ++row, to += place.grid_width) *to = static_cast<std::uint8_t>(word >> row & 1U);
    }
}

/// Where a block's runs go in `MaskScratch::runs`, and how many each warp has.
struct RunReservation {
    long long first;
    int warp_counts[kStripWarps];
};

/// Calls visit(row) for each row of the chunk where the lane's column changes; `before` is its last bit above, and
/// becomes its last bit.
template <typename Visit>
__device__ __forceinline__ void for_each_change(const StripMemory& memory, int rows, std::uint32_t* before,
                                                Visit visit) {
    const int lane = static_cast<int>(threadIdx.x);
    for (int block = 0; block < rows; block += 32) {
        const std::uint32_t word = memory.words[block / 32 * kStripColumns + lane];
        std::uint32_t changes = word ^ (word << 1U | *before);
        *before = word >> 31U;
        // Below the last row bits are zeros: a mask that reaches it ends there, or has ended within the word.
        for (; changes != 0; changes &= changes - 1U) visit(block + __ffs(static_cast<int>(changes)) - 1);
    }
}

/// All rows of the strip, drawn and counted. Where they are more than fit in memory.words they are drawn again to be
/// written: a column's runs follow each other, whatever chunks it is drawn in.
///
/// reservation  shared, one
__device__ __forceinline__ void write_runs(const MaskLaunch& launch, const Strip& strip, const StripMemory& memory,
                                           int tile, RunReservation* reservation) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const bool fits = strip.rows <= kChunkRows;
    int count = 0;
    std::uint32_t before = 0;
    for (int row = 0; row < strip.rows; row += kChunkRows) {
        const int rows = min(kChunkRows, strip.rows - row);
        draw_rows(strip, memory, strip.first_row + row, strip.first_row + row + rows);
        for_each_change(memory, rows, &before, [&](int) { ++count; });
    }
    const StripPlace place = read_place(launch, tile);
    count += static_cast<int>(before);  // the end below the last row
    int sum = count;
    for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(0xFFFFFFFFU, sum, static_cast<unsigned>(step));
        if (lane >= step) sum += other;
    }
    if (lane == 31) reservation->warp_counts[warp] = sum;
    __syncthreads();  // all warps' counts are there
    int total = 0, place_of_column = sum - count;
    for (int other = 0; other < kStripWarps; ++other) {
        if (other < warp) place_of_column += reservation->warp_counts[other];
        total += reservation->warp_counts[other];
    }
    if (threadIdx.x == 0) {
        const auto reserved = static_cast<unsigned long long>(total);
        reservation->first = static_cast<long long>(atomicAdd(&launch.scratch.totals->run_count, reserved));
        atomicAdd(launch.scratch.run_counts + place.slot, reserved);
        store_vector(launch.scratch.tile_runs + tile, make_longlong2(reservation->first, total));
    }
    __syncthreads();  // the reservation is made; the counts of warps have been read
    // Where runs are too many for the arena they are only counted.
    const long long first = reservation->first;
    if (first + total > launch.results.arena_capacity) return;
    std::int32_t* to = launch.scratch.runs + first + place_of_column;
    before = 0;
    const std::int32_t column_begin =
        (place.grid_column + static_cast<int>(threadIdx.x)) * place.grid_height + place.grid_row;
    for (int row = 0; row < strip.rows; row += kChunkRows) {
        const int rows = min(kChunkRows, strip.rows - row);
        if (!fits) draw_rows(strip, memory, strip.first_row + row, strip.first_row + row + rows);
        for_each_change(memory, rows, &before, [&](int change) { *to++ = column_begin + row + change; });
    }
    if (before != 0) *to = column_begin + place.rows;
}

// Runs were reserved in whatever order blocks came by; here they go where the order of detections and columns says. A
// block moves the runs of every gridDim.x-th detection.
__global__ void __launch_bounds__(kStripColumns) gather_runs(MaskLaunch launch) {
    RFK_SHARED(long long, warp_before, kStripWarps);
    RFK_SHARED(long long, warp_total, kStripWarps);
    const int slots = launch.image_count * launch.max_detections;
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    for (int slot = static_cast<int>(blockIdx.x); slot < slots; slot += static_cast<int>(gridDim.x)) {
        long long before = 0, total = 0;
        for (int other = static_cast<int>(threadIdx.x); other < slots; other += kStripColumns) {
            const auto count = static_cast<long long>(launch.scratch.run_counts[other]);
            if (other < slot) before += count;
            total += count;
        }
        for (int step = 16; step > 0; step /= 2) {
            before += __shfl_xor_sync(0xFFFFFFFFU, before, step);
            total += __shfl_xor_sync(0xFFFFFFFFU, total, step);
        }
        if (lane == 0) {
            warp_before[warp] = before;
            warp_total[warp] = total;
        }
        __syncthreads();  // all warps' sums are there
        before = 0;
        total = 0;
        for (int other = 0; other < kStripWarps; ++other) {
            before += warp_before[other];
            total += warp_total[other];
        }
        __syncthreads();  // they are read before the next detection's are written
        const bool overflowed = total > launch.results.arena_capacity;
        if (slot == 0 && threadIdx.x == 0)
            store_vector(launch.results.summary, make_longlong2(total, overflowed ? 1 : 0));
        const auto count = static_cast<long long>(launch.scratch.run_counts[slot]);
        if (threadIdx.x == 0) {
            store_vector(&launch.results.records[slot].first, make_longlong2(count > 0 ? before : 0, count));
        }
        if (overflowed || count == 0) continue;
        std::int32_t* to = static_cast<std::int32_t*>(launch.results.arena) + before;
        const MaskWindow* window = launch.scratch.windows + slot;
        const int end_tile = window->first_tile + (window->width + kStripColumns - 1) / kStripColumns;
        for (int tile = window->first_tile; tile < end_tile; ++tile) {
            const longlong2 runs = load_vector<longlong2>(launch.scratch.tile_runs + tile);
            const std::int32_t* from = launch.scratch.runs + runs.x;
            for (int i = static_cast<int>(threadIdx.x); i < runs.y; i += kStripColumns) to[i] = from[i];
            to += runs.y;
        }
    }
}

// Zeros for all masks of every image, 16 bytes at a time.
__global__ void __launch_bounds__(kClearLanes) clear_dense(MaskLaunch launch) {
    if (launch.scratch.totals->elements == 0) return;
    const long long first = static_cast<long long>(blockIdx.x) * kClearLanes + threadIdx.x;
    const long long step = static_cast<long long>(gridDim.x) * kClearLanes;
    for (int image = 0; image < launch.image_count; ++image) {
        const MaskDescriptor* descriptor = static_cast<const MaskDescriptor*>(launch.descriptors) + image;
        const int count = min(launch.counts[image], launch.max_detections);
        if (count <= 0) continue;
        const long long bytes = static_cast<long long>(descriptor->x.grid_size) * descriptor->y.grid_size * count;
        std::uint8_t* masks = static_cast<std::uint8_t*>(launch.results.arena) + descriptor->dense_first;
        const long long vectors = bytes / 16;
        for (long long i = first; i < vectors; i += step) store_vector(masks + i * 16, make_uint4(0, 0, 0, 0));
        for (long long i = vectors * 16 + first; i < bytes; i += step) masks[i] = 0;
    }
}

}  // namespace
}  // namespace rfkernels
