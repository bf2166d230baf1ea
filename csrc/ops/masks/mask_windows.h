#pragma once

// Kernel code, for masks.cu alone: from boxes to windows, tiles and places in the arena.

#include "device/kernel.h"
#include "device_masks.h"
#include "mask_cut.h"

namespace rfkernels {
namespace {

constexpr unsigned kEveryLane = 0xFFFFFFFFU;
constexpr int kWarpLanes = 32;
/// Whole warps, as many as there are detections, to this.
constexpr int kMostPlanLanes = 512;
constexpr int kMostPlanWarps = kMostPlanLanes / kWarpLanes;

/// What was counted so far, of the detections before one.
struct Counted {
    long long tiles;
    long long elements;
};

__device__ __forceinline__ Counted added(const Counted& a, const Counted& b) {
    return Counted{a.tiles + b.tiles, a.elements + b.elements};
}

__device__ __forceinline__ AxisCut axis_cut(const AxisDescriptor* axis, int cuts_probabilities, int prototype_size,
                                            const std::int32_t* tables) {
    AxisCut cut;
    cut.cuts_probabilities = cuts_probabilities != 0;
    cut.prototype_size = prototype_size;
    cut.grid_size = axis->grid_size;
    cut.offset = axis->offset;
    cut.first = tables + axis->first;
    cut.resized_size = axis->resized_size;
    cut.taps = axis->taps;
    cut.box_before = axis->box_before;
    cut.box_scale = axis->box_scale;
    cut.box_offset = axis->box_offset;
    return cut;
}

/// Its window of one detection, and what it takes; nothing where the place is not taken or the box is empty.
__device__ __forceinline__ Counted plan_window(const MaskLaunch& launch, int slot, MaskWindow* window,
                                               MaskRecord* record) {
    const int image = slot / launch.max_detections;
    window->image = image;
    window->place = slot - image * launch.max_detections;
    if (window->place >= launch.counts[image]) return Counted{0, 0};
    const MaskDescriptor* descriptor = static_cast<const MaskDescriptor*>(launch.descriptors) + image;
    const std::int32_t* tables = static_cast<const std::int32_t*>(launch.descriptors);
    const float4 box = load_vector<float4>(launch.boxes + static_cast<std::int64_t>(slot) * 4);
    const int cuts_probabilities = descriptor->cut_probabilities;
    const Cut x = cut_axis(axis_cut(&descriptor->x, cuts_probabilities, launch.prototype_width, tables), box.x, box.z);
    const Cut y = cut_axis(axis_cut(&descriptor->y, cuts_probabilities, launch.prototype_height, tables), box.y, box.w);
    Counted counted{0, 0};
    if (!x.resized.empty() && !y.resized.empty()) {
        window->first_column = static_cast<std::int32_t>(x.resized.first);
        window->width = static_cast<std::int32_t>(x.resized.size());
        window->first_row = static_cast<std::int32_t>(y.resized.first);
        window->height = static_cast<std::int32_t>(y.resized.size());
        window->kept_first_column = static_cast<std::int32_t>(x.prototypes.first);
        window->kept_end_column = static_cast<std::int32_t>(x.prototypes.end);
        window->kept_first_row = static_cast<std::int32_t>(y.prototypes.first);
        window->kept_end_row = static_cast<std::int32_t>(y.prototypes.end);
        record->left = descriptor->x.offset + window->first_column;
        record->top = descriptor->y.offset + window->first_row;
        record->width = window->width;
        record->height = window->height;
        counted.tiles = (window->width + kStripColumns - 1) / kStripColumns;
        if (launch.output == MaskOutput::kBits) {
            counted.elements = (window->width + 63LL) / 64 * window->height;
            record->count = counted.elements;
        }
    }
    if (launch.output == MaskOutput::kDense) {
        // An empty window has pixels too. Places are those of the descriptors; what is counted is how far they reach.
        const long long pixels = static_cast<long long>(descriptor->x.grid_size) * descriptor->y.grid_size;
        record->first = descriptor->dense_first + window->place * pixels;
        record->count = pixels;
    }
    return counted;
}

__device__ __forceinline__ void write_window(const MaskWindow& window, MaskWindow* to) {
    store_vector(&to->first_column, make_int4(window.first_column, window.width, window.first_row, window.height));
    store_vector(&to->kept_first_column, make_int4(window.kept_first_column, window.kept_end_column,
                                                   window.kept_first_row, window.kept_end_row));
    to->first_element = window.first_element;
    to->first_tile = window.first_tile;
    to->image = window.image;
    to->place = window.place;
}

/// Of all lanes of the block, those before this one; `total` of all. Every lane of the block must call it.
///
/// warp_totals  shared, [kMostPlanWarps]
__device__ __forceinline__ Counted counted_before(const Counted& own, Counted* warp_totals, Counted* total) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes, warp = static_cast<int>(threadIdx.x) / kWarpLanes;
    Counted sum = own;
    for (int step = 1; step < kWarpLanes; step *= 2) {
        const long long tiles = __shfl_up_sync(kEveryLane, sum.tiles, static_cast<unsigned>(step));
        const long long elements = __shfl_up_sync(kEveryLane, sum.elements, static_cast<unsigned>(step));
        if (lane >= step) sum = added(sum, Counted{tiles, elements});
    }
    if (lane == kWarpLanes - 1) {
        warp_totals[warp].tiles = sum.tiles;
        warp_totals[warp].elements = sum.elements;
    }
    __syncthreads();  // the warps' totals are complete
    Counted before{sum.tiles - own.tiles, sum.elements - own.elements};
    *total = Counted{0, 0};
    for (int other = 0; other < static_cast<int>(blockDim.x) / kWarpLanes; ++other) {
        const Counted of_other{warp_totals[other].tiles, warp_totals[other].elements};
        if (other < warp) before = added(before, of_other);
        *total = added(*total, of_other);
    }
    __syncthreads();  // they are read before the next call writes them
    return before;
}

// One block; a lane owns every blockDim.x-th detection. Writes windows, tiles, records and totals of the whole batch.
__global__ void __launch_bounds__(kMostPlanLanes) plan_windows(MaskLaunch launch) {
    RFK_SHARED(Counted, warp_totals, kMostPlanWarps);
    const int slots = launch.image_count * launch.max_detections;
    Counted sum{0, 0};
    for (int first = 0; first < slots; first += static_cast<int>(blockDim.x)) {
        const int slot = first + static_cast<int>(threadIdx.x);
        MaskWindow window;
        MaskRecord record;
        Counted own{0, 0};
        if (slot < slots) own = plan_window(launch, slot, &window, &record);
        Counted total;
        const Counted before = added(sum, counted_before(own, warp_totals, &total));
        sum = added(sum, total);
        if (slot >= slots) continue;
        window.first_tile = static_cast<std::int32_t>(before.tiles);
        if (launch.output == MaskOutput::kBits) record.first = own.elements > 0 ? before.elements : 0;
        window.first_element = record.first;
        write_window(window, launch.scratch.windows + slot);
        MaskRecord* to = launch.results.records + slot;
        store_vector(&to->left, make_int4(record.left, record.top, record.width, record.height));
        store_vector(&to->first, make_longlong2(record.first, record.count));
        launch.scratch.run_counts[slot] = 0;
        for (int tile = 0; tile < own.tiles; ++tile)
            store_vector(launch.scratch.tiles + before.tiles + tile, make_int2(slot, tile * kStripColumns));
    }
    if (threadIdx.x != 0) return;
    long long needed = sum.elements;
    if (launch.output == MaskOutput::kDense) {
        // The masks of an image end where its last one does; the last image that has any reaches furthest.
        needed = 0;
        for (int image = 0; image < launch.image_count; ++image) {
            const MaskDescriptor* descriptor = static_cast<const MaskDescriptor*>(launch.descriptors) + image;
            const int count = min(launch.counts[image], launch.max_detections);
            const long long pixels = static_cast<long long>(descriptor->x.grid_size) * descriptor->y.grid_size;
            if (count > 0) needed = descriptor->dense_first + count * pixels;
        }
    }
    // Runs are counted only when they are drawn; gather_runs says then whether they fit.
    const bool overflowed = launch.output != MaskOutput::kRuns && needed > launch.results.arena_capacity;
    launch.scratch.totals->tiles = overflowed ? 0 : sum.tiles;
    launch.scratch.totals->elements = overflowed ? 0 : needed;
    launch.scratch.totals->run_count = 0;
    if (launch.output != MaskOutput::kRuns)
        store_vector(launch.results.summary, make_longlong2(needed, overflowed ? 1 : 0));
}

}  // namespace
}  // namespace rfkernels
