// Suppression of boxes on the device by one block.

#include "device/kernel.h"
#include "ops/detection/detection_device.h"
#include "ops/detection/suppression_kernel.h"

namespace rfkernels::RFK_DEVICE {
namespace {

struct BlockMemory {
    SuppressionMemory suppression;
    unsigned key_count;
};

__device__ __forceinline__ bool is_number(float value) {
    return value == value;
}

/// Writes the keys of the boxes without a NaN, in any order, and returns how many they are.
__device__ __forceinline__ unsigned write_keys(const SuppressionLaunch& launch, unsigned count, BlockMemory* memory) {
    if (threadIdx.x == 0) memory->key_count = 0;
    __syncthreads();  // zero, before anybody adds
    const unsigned lane = threadIdx.x % 32;
    // All lanes of a warp take every round, for the ballot.
    for (unsigned first = threadIdx.x - lane; first < count; first += kBlockLanes) {
        const unsigned index = first + lane;
        bool is_candidate = false;
        float score = 0.0f;
        if (index < count) {
            const float4 box = load_vector<float4>(launch.boxes + 4 * static_cast<std::size_t>(index));
            score = launch.scores[index];
            is_candidate =
                is_number(score) && is_number(box.x) && is_number(box.y) && is_number(box.z) && is_number(box.w);
        }
        const unsigned candidates = __ballot_sync(kAllLanes, is_candidate);
        unsigned place = 0;
        if (lane == 0 && candidates != 0) {
            place = atomicAdd(&memory->key_count, static_cast<unsigned>(__popc(candidates)));
        }
        place = __shfl_sync(kAllLanes, place, 0) + static_cast<unsigned>(__popc(candidates & ((1U << lane) - 1U)));
        if (is_candidate) launch.keys[place] = static_cast<std::uint64_t>(descending_key(score)) << 32 | index;
    }
    __syncthreads();  // all keys are written
    return memory->key_count;
}

__global__ void __launch_bounds__(kBlockLanes) nms(const SuppressionLaunch launch) {
    RFK_SHARED(BlockMemory, memories, 1);
    unsigned count = static_cast<unsigned>(launch.count);
    if (launch.device_count != nullptr) count = static_cast<unsigned>(min(max(*launch.device_count, 0), launch.count));
    Candidates candidates{};
    candidates.keys = launch.keys;
    candidates.boxes = launch.boxes;
    candidates.classes = launch.class_ids;
    candidates.count = write_keys(launch, count, memories);
    candidates.iou_threshold = launch.iou_threshold;
    candidates.max_kept = static_cast<unsigned>(launch.max_detections);
    candidates.kept = launch.kept;
    const unsigned found = suppress(candidates, &memories->suppression);
    const unsigned kept_count = min(found, candidates.max_kept);
    const unsigned rows = static_cast<unsigned>(min(launch.count, launch.max_detections));
    for (unsigned i = threadIdx.x; i < rows; i += kBlockLanes) {
        launch.results.indices[i] = i < kept_count ? static_cast<std::int32_t>(launch.kept[i]) : -1;
    }
    if (threadIdx.x == 0) {
        *launch.results.count = static_cast<std::int32_t>(kept_count);
        *launch.results.flags = (found > kept_count ? kOverflowed : 0U) | (candidates.count < count ? kDroppedNan : 0U);
    }
}

}  // namespace

bool launch_nms(const SuppressionLaunch& launch, Stream stream) {
    return RFK_LAUNCH(nms, (LaunchShape{{1}, {kBlockLanes}, 0}), stream, launch);
}

}  // namespace rfkernels::RFK_DEVICE
