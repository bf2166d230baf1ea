// Masks of more than 256 x 256 pixels: four launches on one stream, none of which waits for the host.
//   1  each block finds the components of one tile in shared memory (component_tile.h) and writes what the tile's runs
//      are: their pixels as pairs of words, for each run its component's first pixel, for each component its area
//   2  runs that touch across the border of two tiles are united, in device memory
//   3  every run learns its component's first pixel; areas of united parts are added up
//   4  each block writes one tile: labels and areas, or the logits that change
// In between, a run stands at its first pixel in arrays of the mask's shape; other elements are not touched.

#include "device/kernel.h"
#include "ops/connected_components/component_inputs.h"
#include "ops/connected_components/component_tile.h"
#include "ops/connected_components/connected_components_device.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr int kBorderThreads = 288;
constexpr int kBorderPairs = kPairsAcross + 2 * (kPairRows - 1);
static_assert(kBorderPairs <= kBorderThreads, "a thread for each pair at a tile's border");

/// The forest of a mask in device memory; keys are pixels of the mask.
struct MaskForest {
    std::int32_t* parents;

    __device__ __forceinline__ int parent(int key) const { return racy_load(parents + key); }
    __device__ __forceinline__ void set_parent(int key, int parent) const { racy_store(parents + key, parent); }
    __device__ __forceinline__ int hang(int key, int parent) const { return atomicCAS(parents + key, key, parent); }
};

__device__ __forceinline__ DeviceCleaningSide side_of(const DeviceCleaning& cleaning, int side) {
    return side == 0 ? cleaning.sprinkles : cleaning.holes;
}

/// What a block works on: one tile of one mask.
struct Place {
    std::int64_t mask;
    int tile_row;
    int tile_column;
    int tile_number;
    Tile tile;
};

__device__ __forceinline__ Place place_of_block(const DeviceMasks& size) {
    const int block = static_cast<int>(blockIdx.x);
    Place place;
    place.mask = block / size.tiles;
    place.tile_number = block % size.tiles;
    place.tile_row = place.tile_number / size.tiles_across;
    place.tile_column = place.tile_number % size.tiles_across;
    place.tile.row = place.tile_row * kTileSide;
    place.tile.column = place.tile_column * kTileSide;
    place.tile.rows = min(kTileSide, size.height - place.tile.row);
    place.tile.columns = min(kTileSide, size.width - place.tile.column);
    return place;
}

__device__ __forceinline__ std::int64_t mask_pixels(const DeviceMasks& size) {
    return static_cast<std::int64_t>(size.height) * size.width;
}

/// The pairs of one of the `sides` of a block's mask.
__device__ __forceinline__ WordPair* pairs_of_mask(const DeviceComponentScratch& scratch, const DeviceMasks& size,
                                                   const Place& place, int sides, int side) {
    return scratch.pairs + (place.mask * sides + side) * size.tiles * kTilePairs;
}
/// Where a thread's pair of a block's tile lies.
__device__ __forceinline__ WordPair* own_pair(const DeviceComponentScratch& scratch, const DeviceMasks& size,
                                              const Place& place, int sides, int side) {
    return pairs_of_mask(scratch, size, place, sides, side) + place.tile_number * std::int64_t{kTilePairs} +
           threadIdx.x;
}

/// The mask's pixel that a tile's pair begins with. For pairs with pixels in the mask.
__device__ __forceinline__ int first_of_pair(const Tile& tile, int width, int pair) {
    return (tile.row + pair / kPairsAcross * 2) * width + tile.column + pair % kPairsAcross * kPairColumns;
}

/// Writes a tile's runs, after find_components.
__device__ __forceinline__ void write_runs(const WordPair& own, unsigned roots, const TileMemory& memory,
                                           const Tile& tile, int width, std::int32_t* parents, std::int32_t* areas) {
    const int thread = static_cast<int>(threadIdx.x);
    const int key = thread / kPairsAcross * 2 * kTileSide + thread % kPairsAcross * kPairColumns;
    const unsigned columns = columns_of(own);
    for (unsigned rest = run_starts(columns); rest != 0; rest &= rest - 1U) {
        const int start = lowest_bit(rest);
        const unsigned run = run_from(columns, start);
        const bool is_root = (roots >> static_cast<unsigned>(start) & 1U) != 0;
        const Component component = component_of(memory, key + first_pixel(own, run, kTileSide), is_root);
        const int pixel = first_of_pair(tile, width, thread) + first_pixel(own, run, width);
        parents[pixel] = (tile.row + component.root / kTileSide) * width + tile.column + component.root % kTileSide;
        areas[pixel] = is_root ? component.area : 0;
    }
}

__global__ void __launch_bounds__(kTileThreads, 1)
    label_tiles(const std::uint8_t* masks, DeviceMasks size, DeviceComponentScratch scratch) {
    RFK_SHARED(WordPair, pairs, kTileThreads);
    RFK_SHARED(unsigned, forest, kForestPlaces / 2);
    const TileMemory memory{pairs, forest};
    const Place place = place_of_block(size);
    const std::int64_t first = place.mask * mask_pixels(size);
    const int thread = static_cast<int>(threadIdx.x);
    read_tile(MaskInput{masks + first}, place.tile, size.width, memory);
    __syncthreads();  // the pairs are complete
    const WordPair own = load_pair(pairs + thread);
    store_pair(own_pair(scratch, size, place, 1, 0), own);
    const unsigned roots = find_components(own, memory);
    write_runs(own, roots, memory, place.tile, size.width, scratch.parents + first, scratch.areas + first);
}

template <typename Kind>
__global__ void __launch_bounds__(kTileThreads, 1)
    clean_tiles(const typename Kind::Element* logits, DeviceMasks size, DeviceCleaning cleaning,
                DeviceComponentScratch scratch, typename Kind::Element* out) {
    RFK_SHARED(WordPair, pairs, kTileThreads);
    RFK_SHARED(unsigned, forest, kForestPlaces / 2);
    const TileMemory memory{pairs, forest};
    const Place place = place_of_block(size);
    const std::int64_t first = place.mask * mask_pixels(size);
    const int thread = static_cast<int>(threadIdx.x);
    const LogitInput<Kind> input{logits + first, cleaning.threshold, logits == out ? nullptr : out + first};
    read_tile(input, place.tile, size.width, memory);
    __syncthreads();  // the pairs of both sides are complete
    const WordPair own[kSides] = {load_pair(pairs + thread), load_pair(memory.others() + thread)};
    RFK_UNROLL
    for (int side = 0; side < kSides; ++side) {
        if (side_of(cleaning, side).max_area == 0) continue;
        __syncthreads();  // all have both their pairs, and no thread needs those or the forest of the side before
        store_pair(pairs + thread, own[side]);
        store_pair(own_pair(scratch, size, place, kSides, side), own[side]);
        const unsigned roots = find_components(own[side], memory);
        write_runs(own[side], roots, memory, place.tile, size.width, scratch.parents + first, scratch.areas + first);
    }
}

/// Which sides of masks the launches after the first look at: y of the grid.
struct Sides {
    int count;
    bool foreground;
    bool background;
    __device__ __forceinline__ bool has(int side) const { return side == 0 ? foreground : background; }
};

/// A thread has a pair at its tile's border: of the top row, of the first column, of the last. It looks at the
/// neighbours that lie in other tiles.
__global__ void __launch_bounds__(kBorderThreads)
    join_tiles(DeviceMasks size, Sides sides, DeviceComponentScratch scratch) {
    const int side = static_cast<int>(blockIdx.y);
    const int thread = static_cast<int>(threadIdx.x);
    if (!sides.has(side) || thread >= kBorderPairs) return;
    const Place place = place_of_block(size);
    const bool is_top = thread < kPairsAcross;
    const bool is_first = !is_top && thread < kPairsAcross + kPairRows - 1;
    const int pair_row = is_top ? 0 : (thread - kPairsAcross) % (kPairRows - 1) + 1;
    const int across = is_top ? thread : is_first ? 0 : kPairsAcross - 1;
    const bool has_left = across == 0 && place.tile_column > 0;
    const bool has_right = across == kPairsAcross - 1 && place.tile_column + 1 < size.tiles_across;
    const bool has_up = is_top && place.tile_row > 0;
    const WordPair* const all = pairs_of_mask(scratch, size, place, sides.count, side);
    // Of the mask's pairs by their row and column in the mask.
    const int row = place.tile_row * kPairRows + pair_row;
    const int column = place.tile_column * kPairsAcross + across;
    const auto pair_at = [&](int pair_row_of_mask, int pair_column_of_mask) {
        const std::int64_t tile = pair_row_of_mask / kPairRows * size.tiles_across + pair_column_of_mask / kPairsAcross;
        return load_pair(all + tile * kTilePairs + pair_row_of_mask % kPairRows * kPairsAcross +
                         pair_column_of_mask % kPairsAcross);
    };
    const WordPair own = pair_at(row, column);
    if (columns_of(own) == 0) return;
    const WordPair none{0, 0};
    const bool is_inside_left = is_top && across > 0;
    const bool is_inside_right = is_top && across + 1 < kPairsAcross;
    Neighbours neighbours;
    neighbours.left = has_left ? pair_at(row, column - 1) : none;
    neighbours.up = has_up ? pair_at(row - 1, column) : none;
    neighbours.up_left = (has_left && row > 0) || (has_up && is_inside_left) ? pair_at(row - 1, column - 1) : none;
    neighbours.up_right = (has_right && row > 0) || (has_up && is_inside_right) ? pair_at(row - 1, column + 1) : none;
    const MaskForest forest{scratch.parents + place.mask * mask_pixels(size)};
    join_pair(forest, own, first_of_pair(place.tile, size.width, pair_row * kPairsAcross + across), size.width,
              neighbours);
}

/// A thread has a pair. The parts of a component in tiles each know their area at their first pixel; that of the
/// component's own first pixel gets the others' too.
__global__ void __launch_bounds__(kTileThreads, 1)
    sum_tiles(DeviceMasks size, Sides sides, DeviceComponentScratch scratch) {
    const int side = static_cast<int>(blockIdx.y);
    if (!sides.has(side)) return;
    const Place place = place_of_block(size);
    const int thread = static_cast<int>(threadIdx.x);
    const std::int64_t first = place.mask * mask_pixels(size);
    const MaskForest forest{scratch.parents + first};
    std::int32_t* const areas = scratch.areas + first;
    const WordPair own = load_pair(own_pair(scratch, size, place, sides.count, side));
    const unsigned columns = columns_of(own);
    for (unsigned rest = run_starts(columns); rest != 0; rest &= rest - 1U) {
        const unsigned run = run_from(columns, lowest_bit(rest));
        const int pixel = first_of_pair(place.tile, size.width, thread) + first_pixel(own, run, size.width);
        const int root = settle(forest, pixel);
        if (root == pixel) continue;
        // Nothing is ever added to the area of a run that is no root.
        const int area = areas[pixel];
        if (area > 0) atomicAdd(areas + root, area);
    }
}

/// A warp writes its pairs one by one, a lane a column of both rows. Labels are still parents where runs begin, of
/// which each is read by the warp alone that then overwrites it; areas stay what they are where components begin.
__global__ void __launch_bounds__(kTileThreads, 1) write_labels(DeviceMasks size, DeviceComponentScratch scratch) {
    const Place place = place_of_block(size);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpLanes;
    const std::int64_t first = place.mask * mask_pixels(size);
    std::int32_t* const labels = scratch.parents + first;
    std::int32_t* const areas = scratch.areas + first;
    const WordPair own = load_pair(own_pair(scratch, size, place, 1, 0));
    for (int owner = 0; owner < kWarpLanes; ++owner) {
        const WordPair pair{__shfl_sync(kAllLanes, own.upper, owner), __shfl_sync(kAllLanes, own.lower, owner)};
        const int number = thread - lane + owner;
        const int row = number / kPairsAcross * 2;
        const int column = number % kPairsAcross * kPairColumns + lane;
        const bool is_inside = row < place.tile.rows && column < place.tile.columns;
        const unsigned columns = columns_of(pair);
        int root = -1;
        int area = 0;
        if (is_inside && (columns >> lane & 1U) != 0) {
            root = labels[first_of_pair(place.tile, size.width, number) +
                          first_pixel(pair, run_with(columns, lane), size.width)];
            area = areas[root];
        }
        __syncwarp();  // all lanes have their roots before these become labels
        if (!is_inside) continue;
        const int pixel = (place.tile.row + row) * size.width + place.tile.column + column;
        const bool is_upper = (pair.upper >> lane & 1U) != 0;
        labels[pixel] = is_upper ? root + 1 : kNoComponent;
        if (!is_upper || pixel != root) areas[pixel] = is_upper ? area : 0;
        if (row + 1 < place.tile.rows) {
            const bool is_lower = (pair.lower >> lane & 1U) != 0;
            labels[pixel + size.width] = is_lower ? root + 1 : kNoComponent;
            if (!is_lower || pixel + size.width != root) areas[pixel + size.width] = is_lower ? area : 0;
        }
    }
}

template <typename Kind>
__global__ void __launch_bounds__(kTileThreads, 1)
    write_cleaned(DeviceMasks size, DeviceCleaning cleaning, DeviceComponentScratch scratch,
                  typename Kind::Element* out) {
    const int side = static_cast<int>(blockIdx.y);
    const DeviceCleaningSide rule = side_of(cleaning, side);
    if (rule.max_area == 0) return;
    const Place place = place_of_block(size);
    const int thread = static_cast<int>(threadIdx.x);
    const std::int64_t first = place.mask * mask_pixels(size);
    const std::int32_t* const parents = scratch.parents + first;
    const std::int32_t* const areas = scratch.areas + first;
    const WordPair own = load_pair(own_pair(scratch, size, place, kSides, side));
    const unsigned columns = columns_of(own);
    unsigned small = 0;
    for (unsigned rest = run_starts(columns); rest != 0; rest &= rest - 1U) {
        const unsigned run = run_from(columns, lowest_bit(rest));
        const int pixel = first_of_pair(place.tile, size.width, thread) + first_pixel(own, run, size.width);
        if (is_too_small(areas[parents[pixel]], rule.max_area)) small |= run;
    }
    write_changed(WordPair{own.upper & small, own.lower & small}, place.tile, size.width, Kind::from_float(rule.value),
                  out + first);
}

LaunchShape blocks_for(const DeviceMasks& size, int sides, int threads) {
    const unsigned blocks = static_cast<unsigned>(size.count) * static_cast<unsigned>(size.tiles);
    return LaunchShape{{blocks, static_cast<unsigned>(sides)}, {static_cast<unsigned>(threads)}, 0};
}

bool launch_joins(const DeviceMasks& size, const Sides& sides, const DeviceComponentScratch& scratch, Stream stream) {
    return RFK_LAUNCH(join_tiles, blocks_for(size, sides.count, kBorderThreads), stream, size, sides, scratch) &&
           RFK_LAUNCH(sum_tiles, blocks_for(size, sides.count, kTileThreads), stream, size, sides, scratch);
}

template <typename Kind>
bool launch_cleaning_of(const void* logits, const DeviceMasks& size, const DeviceCleaning& cleaning,
                        const DeviceComponentScratch& scratch, void* out, Stream stream) {
    using Element = typename Kind::Element;
    Element* const cleaned = static_cast<Element*>(out);
    const Sides sides{kSides, cleaning.sprinkles.max_area > 0, cleaning.holes.max_area > 0};
    return launch_kernel("clean_tiles", clean_tiles<Kind>, blocks_for(size, 1, kTileThreads), stream,
                         static_cast<const Element*>(logits), size, cleaning, scratch, cleaned) &&
           launch_joins(size, sides, scratch, stream) &&
           launch_kernel("write_cleaned", write_cleaned<Kind>, blocks_for(size, kSides, kTileThreads), stream, size,
                         cleaning, scratch, cleaned);
}

}  // namespace

bool launch_tiled_labels(const std::uint8_t* masks, const DeviceMasks& size, const DeviceComponentScratch& scratch,
                         Stream stream) {
    const Sides sides{1, true, false};
    return RFK_LAUNCH(label_tiles, blocks_for(size, 1, kTileThreads), stream, masks, size, scratch) &&
           launch_joins(size, sides, scratch, stream) &&
           RFK_LAUNCH(write_labels, blocks_for(size, 1, kTileThreads), stream, size, scratch);
}

bool launch_tiled_cleaning(const void* logits, DataType dtype, const DeviceMasks& size, const DeviceCleaning& cleaning,
                           const DeviceComponentScratch& scratch, void* out, Stream stream) {
    if (dtype == DataType::kFloat16) return launch_cleaning_of<Half>(logits, size, cleaning, scratch, out, stream);
    return launch_cleaning_of<Single>(logits, size, cleaning, scratch, out, stream);
}

}  // namespace rfkernels::RFK_DEVICE
