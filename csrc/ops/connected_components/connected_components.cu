// Masks of up to 256 x 256 pixels: one launch, a block for each mask, everything between the pixels that it reads and
// those that it writes in its shared memory. component_tile.h says how components are found.

#include "device/kernel.h"
#include "ops/connected_components/component_inputs.h"
#include "ops/connected_components/component_tile.h"
#include "ops/connected_components/connected_components_device.h"

namespace rfkernels::RFK_DEVICE {
namespace {

/// The whole of a mask as a tile.
__device__ __forceinline__ Tile whole_mask(const DeviceMasks& size) {
    return Tile{0, 0, size.height, size.width};
}

__device__ __forceinline__ std::int64_t first_of_mask(const DeviceMasks& size) {
    return static_cast<std::int64_t>(blockIdx.x) * size.height * size.width;
}

__global__ void __launch_bounds__(kTileThreads, 1)
    label_masks(const std::uint8_t* masks, DeviceMasks size, std::int32_t* labels, std::int32_t* areas) {
    RFK_SHARED(WordPair, pairs, kTileThreads);
    RFK_SHARED(unsigned, forest, kForestPlaces / 2);
    const TileMemory memory{pairs, forest};
    const Tile tile = whole_mask(size);
    const std::int64_t first = first_of_mask(size);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpLanes;
    read_tile(MaskInput{masks + first}, tile, size.width, memory);
    __syncthreads();  // the pairs are complete
    const WordPair own = load_pair(pairs + thread);
    const unsigned roots = find_components(own, memory);

    // A warp writes its pairs one by one, a lane a column of both rows.
    for (int owner = 0; owner < kWarpLanes; ++owner) {
        const WordPair pair{__shfl_sync(kAllLanes, own.upper, owner), __shfl_sync(kAllLanes, own.lower, owner)};
        const unsigned pair_roots = __shfl_sync(kAllLanes, roots, owner);
        const int number = thread - lane + owner;
        const int row = 2 * (number / kPairsAcross);
        const int column = number % kPairsAcross * kPairColumns + lane;
        if (row >= size.height || column >= size.width) continue;
        const unsigned columns = columns_of(pair);
        int label = kNoComponent;
        int area = 0;
        if ((columns >> lane & 1U) != 0) {
            const unsigned run = run_with(columns, lane);
            const int key = row * kTileSide + column - lane + first_pixel(pair, run, kTileSide);
            const Component component = component_of(memory, key, (pair_roots & run & (0U - run)) != 0);
            label = label_of_first_pixel(component.root / kTileSide, component.root % kTileSide, size.width);
            area = component.area;
        }
        const std::int64_t pixel = first + row * size.width + column;
        const bool is_upper = (pair.upper >> lane & 1U) != 0;
        labels[pixel] = is_upper ? label : kNoComponent;
        areas[pixel] = is_upper ? area : 0;
        if (row + 1 < size.height) {
            const bool is_lower = (pair.lower >> lane & 1U) != 0;
            labels[pixel + size.width] = is_lower ? label : kNoComponent;
            areas[pixel + size.width] = is_lower ? area : 0;
        }
    }
}

/// The pixels of a thread's pair that lie in components too small.
__device__ __forceinline__ WordPair small_components(const WordPair& own, unsigned roots, int max_area,
                                                     const TileMemory& memory) {
    const int thread = static_cast<int>(threadIdx.x);
    const int key = thread / kPairsAcross * 2 * kTileSide + thread % kPairsAcross * kPairColumns;
    const unsigned columns = columns_of(own);
    unsigned small = 0;
    for (unsigned rest = run_starts(columns); rest != 0; rest &= rest - 1U) {
        const int start = lowest_bit(rest);
        const unsigned run = run_from(columns, start);
        const bool is_root = (roots >> static_cast<unsigned>(start) & 1U) != 0;
        const Component component = component_of(memory, key + first_pixel(own, run, kTileSide), is_root);
        if (is_too_small(component.area, max_area)) small |= run;
    }
    return WordPair{own.upper & small, own.lower & small};
}

template <typename Kind>
__global__ void __launch_bounds__(kTileThreads, 1) clean_masks(const typename Kind::Element* logits, DeviceMasks size,
                                                               DeviceCleaning cleaning, typename Kind::Element* out) {
    RFK_SHARED(WordPair, pairs, kTileThreads);
    RFK_SHARED(unsigned, forest, kForestPlaces / 2);
    const TileMemory memory{pairs, forest};
    const Tile tile = whole_mask(size);
    const std::int64_t first = first_of_mask(size);
    const int thread = static_cast<int>(threadIdx.x);
    const LogitInput<Kind> input{logits + first, cleaning.threshold, logits == out ? nullptr : out + first};
    read_tile(input, tile, size.width, memory);
    __syncthreads();  // the pairs of both sides are complete
    const WordPair foreground = load_pair(pairs + thread);
    const WordPair background = load_pair(memory.others() + thread);
    __syncthreads();  // all have their background pair: the forest may take its place

    // Both sides are known from here on, so nothing that is written changes what is found.
    if (cleaning.sprinkles.max_area > 0) {
        const unsigned roots = find_components(foreground, memory);
        const WordPair small = small_components(foreground, roots, cleaning.sprinkles.max_area, memory);
        write_changed(small, tile, size.width, Kind::from_float(cleaning.sprinkles.value), out + first);
    }
    if (cleaning.holes.max_area > 0) {
        __syncthreads();  // no thread needs the foreground's pairs or forest any more
        store_pair(pairs + thread, background);
        const unsigned roots = find_components(background, memory);
        const WordPair small = small_components(background, roots, cleaning.holes.max_area, memory);
        write_changed(small, tile, size.width, Kind::from_float(cleaning.holes.value), out + first);
    }
}

template <typename Kind>
bool launch_cleaning_of(const void* logits, const DeviceMasks& size, const DeviceCleaning& cleaning, void* out,
                        Stream stream) {
    using Element = typename Kind::Element;
    const LaunchShape shape{{static_cast<unsigned>(size.count)}, {kTileThreads}, 0};
    return launch_kernel("clean_masks", clean_masks<Kind>, shape, stream, static_cast<const Element*>(logits), size,
                         cleaning, static_cast<Element*>(out));
}

}  // namespace

bool launch_labels(const std::uint8_t* masks, const DeviceMasks& size, std::int32_t* labels, std::int32_t* areas,
                   Stream stream) {
    const LaunchShape shape{{static_cast<unsigned>(size.count)}, {kTileThreads}, 0};
    return RFK_LAUNCH(label_masks, shape, stream, masks, size, labels, areas);
}

bool launch_cleaning(const void* logits, DataType dtype, const DeviceMasks& size, const DeviceCleaning& cleaning,
                     void* out, Stream stream) {
    if (dtype == DataType::kFloat16) return launch_cleaning_of<Half>(logits, size, cleaning, out, stream);
    return launch_cleaning_of<Single>(logits, size, cleaning, out, stream);
}

}  // namespace rfkernels::RFK_DEVICE
