#pragma once

// Greedy suppression by one block, exact, for kernels: candidates go by in their order, kChunk at a time; each meets
// the boxes that are kept, and those before it in its chunk.
//
// Sorted are kWindow keys at most, in shared memory. Where there are more, the best kWindow of what is left are found
// by counting digits, sorted and suppressed, then the next: most of many candidates are never sorted, because
// max_detections are kept long before.

#include "device/kernel.h"
#include "ops/detection/detection_arithmetic.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr unsigned kBlockLanes = 512;
constexpr unsigned kBlockWarps = kBlockLanes / 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
constexpr unsigned kWindow = 1024;
constexpr unsigned kKeysOfWarp = 64;
constexpr unsigned kChunk = 64;
constexpr unsigned kLanesOfBox = kBlockLanes / kChunk;
/// Kept boxes beyond these are read from global memory.
constexpr unsigned kKeptInShared = 512;
constexpr int kDigitBits = 8;
constexpr unsigned kDigits = 1U << kDigitBits;
constexpr std::uint64_t kNoKey = ~std::uint64_t{0};  // after every key: no score makes it

static_assert(kWindow == 2 * kBlockLanes, "two keys for each lane");

struct SuppressionMemory {
    float4 kept_boxes[kKeptInShared];
    float4 chunk_boxes[2][kChunk];  // the next chunk's are written while the last one's are still read
    std::uint64_t keys[kWindow];
    std::uint64_t rows[kChunk];
    float kept_areas[kKeptInShared];
    std::int32_t kept_classes[kKeptInShared];
    float chunk_areas[2][kChunk];
    std::int32_t chunk_classes[2][kChunk];
    unsigned digit_counts[kDigits];
    unsigned digit;
    unsigned digits_before;
    unsigned window_count;
    unsigned kept_count;
};

/// What is to be suppressed, all in global memory.
struct Candidates {
    const std::uint64_t* keys;    // [count] each another: descending_key of the score, then an index
    const float* boxes;           // [..][4] by index
    const std::int32_t* classes;  // by index; null where boxes of every class suppress each other
    unsigned count;
    float iou_threshold;
    unsigned max_kept;
    std::uint64_t* kept;  // [max_kept] keys, best first
};

struct CandidateBox {
    float4 corners;
    float area;
    std::int32_t class_id;
};

__device__ __forceinline__ CandidateBox read_box(const Candidates& candidates, std::uint64_t key) {
    const std::size_t index = static_cast<std::uint32_t>(key);
    CandidateBox box;
    box.corners = load_vector<float4>(candidates.boxes + 4 * index);
    box.area = (box.corners.z - box.corners.x) * (box.corners.w - box.corners.y);
    box.class_id = candidates.classes == nullptr ? 0 : candidates.classes[index];
    return box;
}

// As the CPU has it (nms_kernels.cpp): a quotient above the threshold, and the division only where it can be.
__device__ __forceinline__ bool suppresses(const float4& kept, float kept_area, const CandidateBox& box,
                                           float threshold) {
    const float left = kept.x > box.corners.x ? kept.x : box.corners.x;
    const float top = kept.y > box.corners.y ? kept.y : box.corners.y;
    const float right = kept.z < box.corners.z ? kept.z : box.corners.z;
    const float bottom = kept.w < box.corners.w ? kept.w : box.corners.w;
    const float width = right - left > 0.0f ? right - left : 0.0f;
    const float height = bottom - top > 0.0f ? bottom - top : 0.0f;
    const float inter = width * height;
    const float either = (kept_area + box.area) - inter;
    return inter > 0.0f && !(threshold * either > inter) && inter / either > threshold;
}

/// The lower or the higher of its own key and that of the lane `step` away, as a bitonic sort of `length` has it.
__device__ __forceinline__ std::uint64_t exchanged(std::uint64_t own, unsigned place, unsigned step, unsigned length) {
    const std::uint64_t other = __shfl_xor_sync(kAllLanes, own, static_cast<int>(step));
    const bool takes_lower = ((place & step) == 0) == ((place & length) == 0);
    return takes_lower == (other < own) ? other : own;
}

__device__ __forceinline__ void order(std::uint64_t* first, std::uint64_t* second, bool ascending) {
    const std::uint64_t before = *first;
    if ((before > *second) != ascending) return;
    *first = *second;
    *second = before;
}

/// Sorts [size], a power of two of at least 64, ascending (bitonic). A warp holds 64 neighbouring keys, two in a lane's
/// registers, for the steps that stay among them; wider ones go through shared memory. Every lane of the block calls
/// it, after a barrier; ends with one.
__device__ __forceinline__ void sort_keys(std::uint64_t* keys, unsigned size) {
    const unsigned place = threadIdx.x / 32 * kKeysOfWarp + threadIdx.x % 32;
    const bool has_keys = place < size;  // all lanes of a warp, or none
    for (unsigned longest = kKeysOfWarp; longest <= size; longest *= 2) {
        for (unsigned step = longest / 2; step >= kKeysOfWarp; step /= 2) {
            if (threadIdx.x < size / 2) {
                const unsigned first = 2 * threadIdx.x - (threadIdx.x & (step - 1));
                order(keys + first, keys + first + step, (first & longest) == 0);
            }
            __syncthreads();  // exchanged, before the next step reads what other warps have written
        }
        if (has_keys) {
            std::uint64_t low = keys[place];
            std::uint64_t high = keys[place + 32];
            for (unsigned length = longest == kKeysOfWarp ? 2 : longest; length <= longest; length *= 2) {
                if (length >= kKeysOfWarp) order(&low, &high, (place & length) == 0);
                for (unsigned step = min(length / 2, 16U); step > 0; step /= 2) {
                    low = exchanged(low, place, step, length);
                    high = exchanged(high, place + 32, step, length);
                }
            }
            keys[place] = low;
            keys[place + 32] = high;
        }
        __syncthreads();  // the same
    }
}

/// One warp: the first digit at which `before` and the counts up to it are more than kWindow, and the number before it.
/// There is one.
__device__ __forceinline__ void find_full_digit(unsigned before, SuppressionMemory* memory) {
    constexpr unsigned kDigitsOfLane = kDigits / 32;
    const unsigned lane = threadIdx.x % 32;
    unsigned own = 0;
    for (unsigned i = 0; i < kDigitsOfLane; ++i) own += memory->digit_counts[lane * kDigitsOfLane + i];
    unsigned up_to = own;
    for (unsigned distance = 1; distance < 32; distance *= 2) {
        const unsigned other = __shfl_up_sync(kAllLanes, up_to, distance);
        if (lane >= distance) up_to += other;
    }
    const unsigned full = __ballot_sync(kAllLanes, before + up_to > kWindow);
    if (lane != static_cast<unsigned>(__ffs(static_cast<int>(full)) - 1)) return;
    unsigned digit = lane * kDigitsOfLane;
    unsigned count = before + up_to - own;
    while (count + memory->digit_counts[digit] <= kWindow) count += memory->digit_counts[digit++];
    memory->digit = digit;
    memory->digits_before = count;
}

/// More than kWindow keys are at least `begin`: a key such that half a window to a whole one of them lie before it.
__device__ __forceinline__ std::uint64_t find_window_end(const Candidates& candidates, std::uint64_t begin,
                                                         SuppressionMemory* memory) {
    std::uint64_t prefix = 0;
    unsigned before = 0;
    for (int shift = 64 - kDigitBits;; shift -= kDigitBits) {
        if (threadIdx.x < kDigits) memory->digit_counts[threadIdx.x] = 0;
        __syncthreads();  // zeros, before anybody counts; the last round's answer has been read
        for (unsigned i = threadIdx.x; i < candidates.count; i += kBlockLanes) {
            const std::uint64_t key = candidates.keys[i];
            const bool has_prefix = shift == 64 - kDigitBits || key >> (shift + kDigitBits) == prefix;
            if (key >= begin && has_prefix) {
                atomicAdd(&memory->digit_counts[static_cast<unsigned>(key >> shift) & (kDigits - 1)], 1U);
            }
        }
        __syncthreads();  // all are counted
        if (threadIdx.x < 32) find_full_digit(before, memory);
        __syncthreads();  // the answer is there
        prefix = prefix << kDigitBits | memory->digit;
        before = memory->digits_before;
        // Keys differ, so that the last digit leaves exactly a window.
        if (before >= kWindow / 2 || shift == 0) return prefix << shift;
    }
}

/// Brings the keys in [begin, end) to shared memory, in any order, and returns how many they are.
__device__ __forceinline__ unsigned gather_window(const Candidates& candidates, std::uint64_t begin, std::uint64_t end,
                                                  SuppressionMemory* memory) {
    if (candidates.count <= kWindow) {
        for (unsigned i = threadIdx.x; i < candidates.count; i += kBlockLanes) memory->keys[i] = candidates.keys[i];
        return candidates.count;
    }
    if (threadIdx.x == 0) memory->window_count = 0;
    __syncthreads();  // zero, before anybody adds
    const unsigned lane = threadIdx.x % 32;
    // All lanes of a warp take every round, for the ballot.
    for (unsigned first = threadIdx.x - lane; first < candidates.count; first += kBlockLanes) {
        std::uint64_t key = kNoKey;
        if (first + lane < candidates.count) key = candidates.keys[first + lane];
        const bool is_within = key >= begin && key < end;
        const unsigned within = __ballot_sync(kAllLanes, is_within);
        unsigned place = 0;
        if (lane == 0 && within != 0) {
            place = atomicAdd(&memory->window_count, static_cast<unsigned>(__popc(within)));
        }
        place = __shfl_sync(kAllLanes, place, 0) + static_cast<unsigned>(__popc(within & ((1U << lane) - 1U)));
        if (is_within) memory->keys[place] = key;
    }
    __syncthreads();  // all have been added
    return memory->window_count;
}

/// One warp: which of a chunk's boxes are kept. Bit j of row i says that box j, earlier, suppresses box i; its own bit
/// that it is none, or suppressed by a box kept before. A box is out once one that is kept suppresses it, and is kept
/// once all that would suppress it are out; every round decides the first that is open, and mostly nearly all.
__device__ __forceinline__ std::uint64_t resolve_chunk(const std::uint64_t* rows) {
    const unsigned lane = threadIdx.x % 32;
    const std::uint64_t row[2] = {rows[lane], rows[lane + 32]};
    bool is_open[2] = {(row[0] >> lane & 1) == 0, (row[1] >> (lane + 32) & 1) == 0};
    const auto ballot = [](bool low, bool high) {
        const std::uint64_t upper = __ballot_sync(kAllLanes, high);
        return upper << 32 | __ballot_sync(kAllLanes, low);
    };
    std::uint64_t open = ballot(is_open[0], is_open[1]);
    std::uint64_t kept = 0;
    while (open != 0) {
        bool is_kept[2];
        RFK_UNROLL
        for (int half = 0; half < 2; ++half) {
            is_kept[half] = is_open[half] && (row[half] & (kept | open)) == 0;
            is_open[half] = is_open[half] && !is_kept[half] && (row[half] & kept) == 0;
        }
        kept |= ballot(is_kept[0], is_kept[1]);
        open = ballot(is_open[0], is_open[1]);
    }
    return kept;
}

/// One warp: adds a chunk's kept boxes to those kept before.
__device__ __forceinline__ void keep_boxes(const Candidates& candidates, const std::uint64_t* keys,
                                           std::uint64_t chosen, unsigned buffer, SuppressionMemory* memory) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned kept_before = memory->kept_count;
    __syncwarp();  // read by all, before it is raised
    RFK_UNROLL
    for (unsigned box = lane; box < kChunk; box += 32) {
        if ((chosen >> box & 1) == 0) continue;
        const std::uint64_t earlier = chosen & ((std::uint64_t{1} << box) - 1);
        const unsigned place = kept_before + static_cast<unsigned>(__popcll(earlier));
        if (place < candidates.max_kept) candidates.kept[place] = keys[box];
        if (place < kKeptInShared) {
            store_vector(&memory->kept_boxes[place], load_vector<float4>(&memory->chunk_boxes[buffer][box]));
            memory->kept_areas[place] = memory->chunk_areas[buffer][box];
            memory->kept_classes[place] = memory->chunk_classes[buffer][box];
        }
    }
    if (lane == 0) memory->kept_count = kept_before + static_cast<unsigned>(__popcll(chosen));
}

/// Suppresses a sorted window's [size] candidates. Every lane of the block calls it, after a barrier.
__device__ __forceinline__ void suppress_window(const Candidates& candidates, unsigned size,
                                                SuppressionMemory* memory) {
    const unsigned own = threadIdx.x / kLanesOfBox;   // the box of a chunk that this lane looks at with others,
    const unsigned part = threadIdx.x % kLanesOfBox;  // each at every kLanesOfBox-th of those that may suppress it
    CandidateBox next{};
    if (own < size) next = read_box(candidates, memory->keys[own]);
    unsigned buffer = 0;
    for (unsigned first = 0; first < size; first += kChunk, buffer ^= 1U) {
        const CandidateBox box = next;
        const bool is_candidate = first + own < size;
        // Asked for now, needed after two barriers.
        if (first + kChunk + own < size) next = read_box(candidates, memory->keys[first + kChunk + own]);
        if (part == 0) {
            store_vector(&memory->chunk_boxes[buffer][own], box.corners);
            memory->chunk_areas[buffer][own] = box.area;
            memory->chunk_classes[buffer][own] = box.class_id;
        }
        __syncthreads();  // the chunk's boxes and all that were kept before are there
        const unsigned kept_count = memory->kept_count;
        if (kept_count > candidates.max_kept) break;
        bool is_out = !is_candidate;
        for (unsigned i = part; i < min(kept_count, kKeptInShared) && !is_out; i += kLanesOfBox) {
            if (memory->kept_classes[i] != box.class_id) continue;
            is_out = suppresses(load_vector<float4>(&memory->kept_boxes[i]), memory->kept_areas[i], box,
                                candidates.iou_threshold);
        }
        for (unsigned i = kKeptInShared + part; i < kept_count && !is_out; i += kLanesOfBox) {
            const CandidateBox kept = read_box(candidates, candidates.kept[i]);
            is_out =
                kept.class_id == box.class_id && suppresses(kept.corners, kept.area, box, candidates.iou_threshold);
        }
        std::uint64_t row = is_out ? std::uint64_t{1} << own : 0;
        for (unsigned i = part; i < own && !is_out; i += kLanesOfBox) {
            if (memory->chunk_classes[buffer][i] != box.class_id) continue;
            if (suppresses(load_vector<float4>(&memory->chunk_boxes[buffer][i]), memory->chunk_areas[buffer][i], box,
                           candidates.iou_threshold)) {
                row |= std::uint64_t{1} << i;
            }
        }
        RFK_UNROLL
        for (int distance = kLanesOfBox / 2; distance > 0; distance /= 2) {
            row |= __shfl_xor_sync(kAllLanes, row, distance);
        }
        if (part == 0) memory->rows[own] = row;
        __syncthreads();  // the chunk's rows are there; nobody reads the kept boxes any more
        // The other warps go on to the next chunk's boxes, and wait for this one's kept there.
        if (threadIdx.x < 32) {
            keep_boxes(candidates, memory->keys + first, resolve_chunk(memory->rows), buffer, memory);
        }
    }
    __syncthreads();  // the last chunk's are kept too; nobody reads the window's keys any more
}

/// Writes the keys of the kept [at most max_kept], best first, and returns how many there were, counted no further than
/// to the end of the chunk with one too many. Every lane of the block calls it; what was written is there for all.
__device__ __forceinline__ unsigned suppress(const Candidates& candidates, SuppressionMemory* memory) {
    if (threadIdx.x == 0) memory->kept_count = 0;
    std::uint64_t begin = 0;
    unsigned left = candidates.count;
    unsigned kept_count = 0;
    while (left > 0 && kept_count <= candidates.max_kept) {
        const std::uint64_t end = left <= kWindow ? kNoKey : find_window_end(candidates, begin, memory);
        const unsigned count = gather_window(candidates, begin, end, memory);
        unsigned size = kKeysOfWarp;
        while (size < count) size *= 2;
        for (unsigned i = count + threadIdx.x; i < size; i += kBlockLanes) memory->keys[i] = kNoKey;
        __syncthreads();  // the window is complete
        sort_keys(memory->keys, size);
        suppress_window(candidates, count, memory);
        kept_count = memory->kept_count;
        left -= count;
        begin = end;
    }
    return kept_count;
}

}  // namespace
}  // namespace rfkernels::RFK_DEVICE
