#pragma once

// Which anchors of a tile may be detections, and their boxes, for kernels.

#include "device/kernel.h"
#include "ops/detection/detection_arithmetic.h"
#include "ops/detection/detection_device.h"
#include "ops/detection/suppression_kernel.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr int kTile = kTileAnchors;
constexpr int kSidesOfBox = 4;
static_assert(kTile * kSidesOfBox == kBlockLanes, "a lane for each side of each box of a tile");

struct FilterMemory {
    // Of each warp's classes: an anchor's greatest value and the first class that has it.
    float values[kBlockWarps][kTile];
    std::int32_t classes[kBlockWarps][kTile];
    // Anchors that are sure enough, in any order.
    float chosen_scores[kTile];
    std::int32_t chosen_classes[kTile];
    std::int32_t chosen_anchors[kTile];  // of the tile
    unsigned chosen_count;
};

// The elements of heads. A word of 0xFFFFFFFF is NaN in all of them, which no maximum takes.
struct Float32 {
    static constexpr int kOfVector = 4;
    static constexpr int kClassesInFlight = 5;
    static __device__ __forceinline__ float load(const void* data, std::int64_t element) {
        return static_cast<const float*>(data)[element];
    }
    static __device__ __forceinline__ void unpack(const uint4& words, float* values) {
        values[0] = __uint_as_float(words.x);
        values[1] = __uint_as_float(words.y);
        values[2] = __uint_as_float(words.z);
        values[3] = __uint_as_float(words.w);
    }
};

template <typename Half>
struct TwoBytes {
    static constexpr int kOfVector = 8;
    static constexpr int kClassesInFlight = 3;
    static __device__ __forceinline__ float load(const void* data, std::int64_t element) {
        return Half::value(static_cast<const std::uint16_t*>(data)[element]);
    }
    static __device__ __forceinline__ void unpack(const uint4& words, float* values) {
        unpack_word(words.x, values);
        unpack_word(words.y, values + 2);
        unpack_word(words.z, values + 4);
        unpack_word(words.w, values + 6);
    }

  private:
    static __device__ __forceinline__ void unpack_word(std::uint32_t word, float* values) {
        values[0] = Half::value(static_cast<std::uint16_t>(word));
        values[1] = Half::value(static_cast<std::uint16_t>(word >> 16U));
    }
};

struct Bfloat16 : TwoBytes<Bfloat16> {
    static __device__ __forceinline__ float value(std::uint16_t bits) { return from_bfloat16(bits); }
};

struct Float16 : TwoBytes<Float16> {
    static __device__ __forceinline__ float value(std::uint16_t bits) {
        __half_raw raw;
        raw.x = bits;
        return __half2float(__half(raw));
    }
};

/// A tile of one image.
struct Tile {
    int image;
    int first;  // of its level's anchors
    int count;
};

// The greater value and its class, of equal ones the lower class.
__device__ __forceinline__ void take_greater(float value, int class_id, float* greatest, int* class_of_greatest) {
    if (value > *greatest || (value == *greatest && class_id < *class_of_greatest)) {
        *greatest = value;
        *class_of_greatest = class_id;
    }
}

// Anchors contiguous, 16 bytes of them for each lane. So many lanes read a tile's part of one class, the next ones the
// next class's, and all rows of lanes together every class in turns; each keeps several loads in flight.
template <typename Element>
__device__ __forceinline__ unsigned filter_vectors(const DevicePlane& classes, int class_count, const Tile& tile,
                                                   FilterMemory* memory) {
    constexpr int kValues = Element::kOfVector;
    constexpr int kInFlight = Element::kClassesInFlight;
    constexpr unsigned kLanesOfRow = kTile / kValues;
    constexpr unsigned kRows = kBlockLanes / kLanesOfRow;
    constexpr bool kTwoRowsOfWarp = kLanesOfRow == 16;
    static_assert(kLanesOfRow == 32 || kTwoRowsOfWarp, "rows of a warp are one or two");
    const unsigned column = threadIdx.x % kLanesOfRow;
    const int row = static_cast<int>(threadIdx.x / kLanesOfRow);
    const int first = kValues * static_cast<int>(column);
    const std::int64_t start = tile.image * classes.image_step + tile.first + first;
    const unsigned char* data =
        static_cast<const unsigned char*>(classes.data) + start * static_cast<int>(16 / kValues);
    const std::int64_t class_bytes = classes.channel_step * static_cast<int>(16 / kValues);
    float greatest[kValues];
    int class_of_greatest[kValues];
    RFK_UNROLL
    for (int i = 0; i < kValues; ++i) {
        greatest[i] = -__builtin_inff();
        class_of_greatest[i] = 0;
    }
    // Whole vectors: the level's anchors are a multiple of them.
    const int class_end = first < tile.count ? class_count : 0;
    for (int class_id = row; class_id < class_end; class_id += kInFlight * static_cast<int>(kRows)) {
        uint4 words[kInFlight];
        RFK_UNROLL
        for (int i = 0; i < kInFlight; ++i) {
            const int own = class_id + i * static_cast<int>(kRows);
            words[i] = make_uint4(0xFFFFFFFFU, 0xFFFFFFFFU, 0xFFFFFFFFU, 0xFFFFFFFFU);
            if (own < class_end) words[i] = load_vector<uint4>(data + own * class_bytes);
        }
        RFK_UNROLL
        for (int i = 0; i < kInFlight; ++i) {
            float values[kValues];
            Element::unpack(words[i], values);
            RFK_UNROLL
            for (int k = 0; k < kValues; ++k) {
                if (values[k] > greatest[k]) {
                    greatest[k] = values[k];
                    class_of_greatest[k] = class_id + i * static_cast<int>(kRows);
                }
            }
        }
    }
    const unsigned warp = threadIdx.x / 32;
    unsigned part = 0;
    if (kTwoRowsOfWarp) {
        RFK_UNROLL
        for (int k = 0; k < kValues; ++k) {
            const float other = __shfl_xor_sync(kAllLanes, greatest[k], 16);
            const int other_class = __shfl_xor_sync(kAllLanes, class_of_greatest[k], 16);
            take_greater(other, other_class, &greatest[k], &class_of_greatest[k]);
        }
        // Both rows know all now. Each writes one half of the eight, so chosen that eight lanes' stores of 16 bytes
        // never meet in a bank.
        part = (column >> 2 & 1) ^ (threadIdx.x >> 4 & 1);
        RFK_UNROLL
        for (int k = 0; k < 4; ++k) {
            greatest[k] = part != 0 ? greatest[kValues - 4 + k] : greatest[k];
            class_of_greatest[k] = part != 0 ? class_of_greatest[kValues - 4 + k] : class_of_greatest[k];
        }
    }
    const int place = first + 4 * static_cast<int>(part);
    store_vector(&memory->values[warp][place], make_float4(greatest[0], greatest[1], greatest[2], greatest[3]));
    store_vector(&memory->classes[warp][place],
                 make_int4(class_of_greatest[0], class_of_greatest[1], class_of_greatest[2], class_of_greatest[3]));
    return kBlockWarps;
}

// Anchors contiguous, of any alignment: one for each lane.
template <typename Element>
__device__ __forceinline__ unsigned filter_planes(const DevicePlane& classes, int class_count, const Tile& tile,
                                                  FilterMemory* memory) {
    constexpr int kRows = static_cast<int>(kBlockLanes) / kTile;
    constexpr int kClassesInFlight = 5;
    const int anchor = static_cast<int>(threadIdx.x % kTile);
    const int row = static_cast<int>(threadIdx.x / kTile);
    const std::int64_t start = tile.image * classes.image_step + tile.first + anchor;
    float greatest = -__builtin_inff();
    int class_of_greatest = 0;
    const int class_end = anchor < tile.count ? class_count : 0;
    for (int class_id = row; class_id < class_end; class_id += kClassesInFlight * kRows) {
        float values[kClassesInFlight];
        RFK_UNROLL
        for (int i = 0; i < kClassesInFlight; ++i) {
            const int own = class_id + i * kRows;
            values[i] = -__builtin_inff();
            if (own < class_end) values[i] = Element::load(classes.data, start + own * classes.channel_step);
        }
        RFK_UNROLL
        for (int i = 0; i < kClassesInFlight; ++i) {
            if (values[i] > greatest) {
                greatest = values[i];
                class_of_greatest = class_id + i * kRows;
            }
        }
    }
    memory->values[row][anchor] = greatest;
    memory->classes[row][anchor] = class_of_greatest;
    return static_cast<unsigned>(kRows);
}

// Classes contiguous: a warp takes every kBlockWarps-th anchor, its lanes the classes in turns.
template <typename Element>
__device__ __forceinline__ unsigned filter_rows(const DevicePlane& classes, int class_count, const Tile& tile,
                                                FilterMemory* memory) {
    constexpr int kAnchors = kTile / static_cast<int>(kBlockWarps);
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp = static_cast<int>(threadIdx.x / 32);
    const std::int64_t start = tile.image * classes.image_step + tile.first * classes.anchor_step;
    float greatest[kAnchors];
    int class_of_greatest[kAnchors];
    RFK_UNROLL
    for (int k = 0; k < kAnchors; ++k) {
        greatest[k] = -__builtin_inff();
        class_of_greatest[k] = 0;
    }
    for (int class_id = lane; class_id < class_count; class_id += 32) {
        float values[kAnchors];
        RFK_UNROLL
        for (int k = 0; k < kAnchors; ++k) {
            const int anchor = warp + k * static_cast<int>(kBlockWarps);
            values[k] = -__builtin_inff();
            if (anchor < tile.count) {
                values[k] = Element::load(classes.data, start + anchor * classes.anchor_step + class_id);
            }
        }
        RFK_UNROLL
        for (int k = 0; k < kAnchors; ++k) {
            if (values[k] > greatest[k]) {
                greatest[k] = values[k];
                class_of_greatest[k] = class_id;
            }
        }
    }
    RFK_UNROLL
    for (int k = 0; k < kAnchors; ++k) {
        for (int distance = 16; distance > 0; distance /= 2) {
            const float other = __shfl_xor_sync(kAllLanes, greatest[k], distance);
            const int other_class = __shfl_xor_sync(kAllLanes, class_of_greatest[k], distance);
            take_greater(other, other_class, &greatest[k], &class_of_greatest[k]);
        }
        if (lane == 0) {
            memory->values[0][warp + k * static_cast<int>(kBlockWarps)] = greatest[k];
            memory->classes[0][warp + k * static_cast<int>(kBlockWarps)] = class_of_greatest[k];
        }
    }
    return 1;
}

/// Each anchor's greatest values of the tile to `memory`: how many it has.
template <typename Element>
__device__ __forceinline__ unsigned filter(const DevicePlane& classes, int class_count, const Tile& tile,
                                           FilterMemory* memory) {
    if (classes.is_vector) return filter_vectors<Element>(classes, class_count, tile, memory);
    if (classes.anchor_step == 1) return filter_planes<Element>(classes, class_count, tile, memory);
    return filter_rows<Element>(classes, class_count, tile, memory);
}

// The mean of the bin number under softmax, summed up from bin 0 as the CPU does (expected_bins). `load(bin)` is a
// bin's value; kBins of them are held in registers, or, where it is 0, loaded twice.
template <int kBins, typename Load>
__device__ __forceinline__ float expected_bin(int bin_count, Load load) {
    float bins[kBins > 0 ? kBins : 1];
    float greatest = -__builtin_inff();
    if (kBins > 0) {
        RFK_UNROLL
        for (int bin = 0; bin < kBins; ++bin) bins[bin] = load(bin);
        RFK_UNROLL
        for (int bin = 0; bin < kBins; ++bin) greatest = bins[bin] > greatest ? bins[bin] : greatest;
    } else {
        for (int bin = 0; bin < bin_count; ++bin) {
            const float value = load(bin);
            greatest = value > greatest ? value : greatest;
        }
    }
    float weight_sum = 0.0f;
    float weighted_sum = 0.0f;
    const auto add = [&](int bin, float value) {
        const float weight = exponential<float, std::uint32_t>(value - greatest);
        weight_sum = weight_sum + weight;
        weighted_sum = weighted_sum + weight * static_cast<float>(bin);
    };
    if (kBins > 0) {
        RFK_UNROLL
        for (int bin = 0; bin < kBins; ++bin) add(bin, bins[bin]);
    } else {
        for (int bin = 0; bin < bin_count; ++bin) add(bin, load(bin));
    }
    return weighted_sum / weight_sum;
}

/// The distance of one side, or, where that is what the plane holds, a number of the box.
template <typename Element>
__device__ __forceinline__ float read_side(const DevicePlane& plane, int reg_max, int image, int anchor, int side) {
    const std::int64_t start =
        image * plane.image_step + anchor * plane.anchor_step + side * reg_max * plane.channel_step;
    const auto load = [&](int bin) { return Element::load(plane.data, start + bin * plane.channel_step); };
    if (reg_max == 1) return load(0);
    if (reg_max == 16) return expected_bin<16>(reg_max, load);
    return expected_bin<0>(reg_max, load);
}

}  // namespace
}  // namespace rfkernels::RFK_DEVICE
