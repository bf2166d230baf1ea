// Detection in one launch. A block filters a tile of anchors of one image and decodes the boxes of its candidates; the
// last block of an image to be done suppresses, and writes the results.

#include "device/kernel.h"
#include "ops/detection/detection_device.h"
#include "ops/detection/filter_kernel.h"
#include "ops/detection/suppression_kernel.h"

namespace rfkernels::RFK_DEVICE {
namespace {

struct BlockMemory {
    union {
        FilterMemory filter;
        SuppressionMemory suppression;  // of the block that is last, once its own tile is done
    };
    unsigned warp_counts[kBlockWarps];
    unsigned is_last;
    unsigned candidate_count;
};

/// The descriptors, where they lie. They fit this launch, or nothing but the header is read.
struct Descriptors {
    const DetectionDescriptor* header;
    const AxisBack* axes;
    const float* thresholds;
    const std::uint8_t* wanted;
    bool fit;
};

__device__ __forceinline__ Descriptors read_descriptors(const DetectionLaunch& launch) {
    Descriptors result;
    result.header = reinterpret_cast<const DetectionDescriptor*>(launch.descriptors);
    result.axes = reinterpret_cast<const AxisBack*>(launch.descriptors + launch.layout.axes);
    result.thresholds = reinterpret_cast<const float*>(launch.descriptors + launch.layout.thresholds);
    result.wanted = launch.descriptors + launch.layout.wanted;
    result.fit = result.header->image_count == launch.image_count && result.header->class_count == launch.class_count;
    return result;
}

/// Whether an anchor's best class is sure enough; its score.
__device__ __forceinline__ bool passes(const Descriptors& descriptors, bool is_decoded, float greatest, int class_id,
                                       float* score) {
    if (!descriptors.fit) return false;
    if (!(greatest > (is_decoded ? descriptors.header->score_gate : descriptors.header->logit_gate))) return false;
    *score = is_decoded ? greatest : sigmoid(greatest);
    if (!(*score > descriptors.thresholds[class_id])) return false;
    return descriptors.header->filters_before == 0 || descriptors.wanted[class_id] != 0;
}

/// Of the tile's anchors those that pass go to `memory`, in any order.
__device__ __forceinline__ void choose(const DetectionLaunch& launch, const Descriptors& descriptors,
                                       const DevicePlane& classes, const Tile& tile, FilterMemory* memory) {
    if (threadIdx.x == 0) memory->chosen_count = 0;
    unsigned row_count = 0;
    switch (classes.dtype) {
        case DataType::kFloat16:
            row_count = filter<Float16>(classes, launch.class_count, tile, memory);
            break;
        case DataType::kBfloat16:
            row_count = filter<Bfloat16>(classes, launch.class_count, tile, memory);
            break;
        default:
            row_count = filter<Float32>(classes, launch.class_count, tile, memory);
    }
    __syncthreads();  // all warps' greatest values are there, and the zero
    const unsigned anchor = threadIdx.x;
    if (anchor >= kTile) return;  // whole warps
    float greatest = memory->values[0][anchor];
    int class_id = memory->classes[0][anchor];
    for (unsigned row = 1; row < row_count; ++row) {
        take_greater(memory->values[row][anchor], memory->classes[row][anchor], &greatest, &class_id);
    }
    float score = 0.0f;
    const bool is_chosen =
        static_cast<int>(anchor) < tile.count && passes(descriptors, launch.is_decoded, greatest, class_id, &score);
    const unsigned chosen = __ballot_sync(kAllLanes, is_chosen);
    const unsigned lane = threadIdx.x % 32;
    unsigned place = 0;
    if (lane == 0 && chosen != 0) place = atomicAdd(&memory->chosen_count, static_cast<unsigned>(__popc(chosen)));
    place = __shfl_sync(kAllLanes, place, 0) + static_cast<unsigned>(__popc(chosen & ((1U << lane) - 1U)));
    if (!is_chosen) return;
    memory->chosen_scores[place] = score;
    memory->chosen_classes[place] = class_id;
    memory->chosen_anchors[place] = static_cast<int>(anchor);
}

/// Decodes the chosen anchors' boxes, a side for each lane, and adds those that are finite to the image's candidates.
__device__ __forceinline__ void decode(const DetectionLaunch& launch, const DeviceLevel& level, const Tile& tile,
                                       const FilterMemory& memory) {
    const unsigned own = threadIdx.x / kSidesOfBox;
    const int side = static_cast<int>(threadIdx.x % kSidesOfBox);
    // Whole warps go; of those that stay all lanes take part in what follows.
    if ((threadIdx.x & ~31U) / kSidesOfBox >= memory.chosen_count) return;
    const bool is_chosen = own < memory.chosen_count;
    int anchor = 0;
    float number = 0.0f;
    if (is_chosen) {
        anchor = tile.first + memory.chosen_anchors[own];
        switch (level.box.dtype) {
            case DataType::kFloat16:
                number = read_side<Float16>(level.box, launch.reg_max, tile.image, anchor, side);
                break;
            case DataType::kBfloat16:
                number = read_side<Bfloat16>(level.box, launch.reg_max, tile.image, anchor, side);
                break;
            default:
                number = read_side<Float32>(level.box, launch.reg_max, tile.image, anchor, side);
        }
    }
    float numbers[kSidesOfBox];
    RFK_UNROLL
    for (int i = 0; i < kSidesOfBox; ++i) numbers[i] = __shfl_sync(kAllLanes, number, i, kSidesOfBox);
    const Box box = launch.is_decoded
                        ? box_from_centre(numbers[0], numbers[1], numbers[2], numbers[3])
                        : box_from_distances(numbers, static_cast<float>(anchor % level.columns) + 0.5f,
                                             static_cast<float>(anchor / level.columns) + 0.5f, level.stride);
    const bool is_candidate = is_chosen && side == 0 && is_finite(box);
    const unsigned candidates = __ballot_sync(kAllLanes, is_candidate);
    const unsigned lane = threadIdx.x % 32;
    unsigned place = 0;
    if (lane == 0 && candidates != 0) {
        place = atomicAdd(launch.scratch.counts + tile.image, static_cast<unsigned>(__popc(candidates)));
    }
    place = __shfl_sync(kAllLanes, place, 0) + static_cast<unsigned>(__popc(candidates & ((1U << lane) - 1U)));
    if (!is_candidate) return;
    const std::int64_t first = static_cast<std::int64_t>(tile.image) * launch.anchor_count;
    const std::uint32_t number_of_all = static_cast<std::uint32_t>(level.first_anchor + anchor);
    launch.scratch.keys[first + place] =
        static_cast<std::uint64_t>(descending_key(memory.chosen_scores[own])) << 32 | number_of_all;
    store_vector(launch.scratch.boxes + 4 * (first + number_of_all), make_float4(box.x1, box.y1, box.x2, box.y2));
    launch.scratch.classes[first + number_of_all] = memory.chosen_classes[own];
}

__device__ __forceinline__ float map_back(float network, const AxisBack& axis, bool whole_pixels) {
    const float position = clamped_to_image(axis, position_in_image(axis, network));
    return whole_pixels ? rintf(position) : position;
}

/// Writes an image's kept candidates, of wanted classes, one behind the other, and clears the rows after them.
__device__ __forceinline__ void write_results(const DetectionLaunch& launch, const Descriptors& descriptors, int image,
                                              const Candidates& candidates, const std::int32_t* classes,
                                              unsigned kept_count, BlockMemory* memory) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
    const std::int64_t first_row = static_cast<std::int64_t>(image) * launch.max_detections;
    const DeviceDetections& results = launch.results;
    unsigned written = 0;
    for (unsigned first = 0; first < kept_count; first += kBlockLanes) {
        const bool is_kept = first + threadIdx.x < kept_count;
        std::uint64_t key = 0;
        int class_id = 0;
        if (is_kept) {
            key = candidates.kept[first + threadIdx.x];
            class_id = classes[static_cast<std::uint32_t>(key)];
        }
        const bool is_wanted = is_kept && descriptors.wanted[class_id] != 0;
        const unsigned wanted = __ballot_sync(kAllLanes, is_wanted);
        if (lane == 0) memory->warp_counts[warp] = static_cast<unsigned>(__popc(wanted));
        __syncthreads();  // all warps' counts are there
        unsigned place = written + static_cast<unsigned>(__popc(wanted & ((1U << lane) - 1U)));
        for (unsigned other = 0; other < kBlockWarps; ++other) {
            const unsigned count = memory->warp_counts[other];
            written += count;
            if (other < warp) place += count;
        }
        __syncthreads();  // and read by all, before the next round's
        if (!is_wanted) continue;
        const std::uint32_t anchor = static_cast<std::uint32_t>(key);
        const std::int64_t row = first_row + place;
        const float4 box = load_vector<float4>(candidates.boxes + 4 * static_cast<std::size_t>(anchor));
        const AxisBack x = descriptors.axes[2 * image];
        const AxisBack y = descriptors.axes[2 * image + 1];
        const bool whole_pixels = descriptors.header->whole_pixels != 0;
        store_vector(results.network_boxes + 4 * row, box);
        store_vector(results.boxes + 4 * row,
                     make_float4(map_back(box.x, x, whole_pixels), map_back(box.y, y, whole_pixels),
                                 map_back(box.z, x, whole_pixels), map_back(box.w, y, whole_pixels)));
        // A candidate's score is above 0: its key is its bits with all but the sign turned over.
        results.scores[row] = __uint_as_float(static_cast<std::uint32_t>(key >> 32) ^ 0x7FFFFFFFU);
        results.class_ids[row] = class_id;
        results.anchor_indices[row] = static_cast<std::int32_t>(anchor);
    }
    const float4 nothing = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (unsigned i = written + threadIdx.x; i < static_cast<unsigned>(launch.max_detections); i += kBlockLanes) {
        store_vector(results.boxes + 4 * (first_row + i), nothing);
        store_vector(results.network_boxes + 4 * (first_row + i), nothing);
        results.scores[first_row + i] = 0.0f;
        results.class_ids[first_row + i] = -1;
        results.anchor_indices[first_row + i] = -1;
    }
    if (threadIdx.x == 0) results.counts[image] = static_cast<std::int32_t>(written);
}

/// Suppression and results of an image, by its last block.
__device__ __forceinline__ void finish(const DetectionLaunch& launch, const Descriptors& descriptors, int image,
                                       BlockMemory* memory) {
    const std::int64_t first = static_cast<std::int64_t>(image) * launch.anchor_count;
    const int most_kept = min(launch.max_detections, launch.anchor_count);
    const std::int32_t* const classes = launch.scratch.classes + first;
    Candidates candidates{};
    candidates.keys = launch.scratch.keys + first;
    candidates.boxes = launch.scratch.boxes + 4 * first;
    candidates.kept = launch.scratch.kept + static_cast<std::int64_t>(image) * most_kept;
    if (descriptors.fit) {
        candidates.count = memory->candidate_count;
        candidates.classes = descriptors.header->class_agnostic != 0 ? nullptr : classes;
        candidates.iou_threshold = descriptors.header->iou_threshold;
        candidates.max_kept = static_cast<unsigned>(min(descriptors.header->max_detections, launch.max_detections));
    }
    const unsigned kept_count = suppress(candidates, &memory->suppression);
    if (threadIdx.x == 0) {
        launch.results.flags[image] =
            descriptors.fit ? (kept_count > candidates.max_kept ? kOverflowed : 0U) : kWrongDescriptors;
    }
    write_results(launch, descriptors, image, candidates, classes, min(kept_count, candidates.max_kept), memory);
}

__global__ void __launch_bounds__(kBlockLanes, 2) detection(const DetectionLaunch launch) {
    RFK_SHARED(BlockMemory, memories, 1);
    BlockMemory* const memory = memories;
    const Descriptors descriptors = read_descriptors(launch);
    int number = 0;
    while (number + 1 < launch.level_count && launch.levels[number + 1].first_tile <= blockIdx.x) ++number;
    const DeviceLevel& level = launch.levels[number];
    Tile tile;
    tile.image = static_cast<int>(blockIdx.y);
    tile.first = static_cast<int>(blockIdx.x - level.first_tile) * kTile;
    tile.count = min(kTile, level.anchor_count - tile.first);
    // The logits are asked for before the descriptors are there.
    choose(launch, descriptors, level.classes, tile, &memory->filter);
    __syncthreads();  // what is chosen is there
    decode(launch, level, tile, memory->filter);
    __syncthreads();  // the block's candidates are written
    if (threadIdx.x == 0) {
        // Those of all blocks that came before are seen by the last, and by the lanes that wait for this one.
        __threadfence();
        memory->is_last = atomicAdd(launch.scratch.tickets + tile.image, 1U) == launch.tile_count - 1 ? 1U : 0U;
        __threadfence();
        if (memory->is_last != 0) {
            // Zeros, as the next launch is to find them.
            memory->candidate_count = atomicExch(launch.scratch.counts + tile.image, 0U);
            atomicExch(launch.scratch.tickets + tile.image, 0U);
        }
    }
    __syncthreads();  // whether this block is the last
    if (memory->is_last != 0) finish(launch, descriptors, tile.image, memory);
}

}  // namespace

bool launch_detection(const DetectionLaunch& launch, Stream stream) {
    const LaunchShape shape{{launch.tile_count, static_cast<unsigned>(launch.image_count)}, {kBlockLanes}, 0};
    return RFK_LAUNCH(detection, shape, stream, launch);
}

}  // namespace rfkernels::RFK_DEVICE
