#pragma once

// What a block does with a tile of up to 256 x 256 pixels, all in 40 KB of shared memory. For connected_components.cu,
// where a mask is one tile, and tiled_components.cu.
//
// A thread owns a word pair: 32 pixels of two rows that lie on each other, as bits. Thread t has rows 2 * (t / 8) and
// below, columns from 32 * (t % 8).
//   - Of 2 x 2 pixels all neighbour each other, so a pair has 16 nodes that are whole, in rows of its own or not. Nodes
//     that hang together side by side are a run: found with a handful of bit operations, at most 16 in a pair, one or
//     two in masks that are no noise.
//   - A run is known by its first pixel in raster order, its key. In a forest of keys each run's parent is a run of the
//     same component with a smaller key, so that a tree's root has the component's first pixel: the smallest key.
//   - The forest has a place for each node, of 16 bits: keys of a tile are 0 to 65535. When it is complete, a root's
//     place becomes a counter, of the component's pixels less one: 0 to 65535 again.

#include "device/kernel.h"
#include "ops/connected_components/component_arithmetic.h"
#include "ops/connected_components/connected_components_device.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr int kWarpLanes = 32;
constexpr int kTileThreads = 1024;
constexpr int kTileWarps = kTileThreads / kWarpLanes;
constexpr int kPairColumns = 32;
constexpr int kPairsAcross = kTileSide / kPairColumns;
constexpr int kPairRows = kTileSide / 2;
constexpr int kPairNodes = 16;
constexpr int kForestPlaces = kTileThreads * kPairNodes;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
constexpr unsigned kFirstColumns = 0x55555555U;  // of nodes

static_assert(kTileThreads == kPairRows * kPairsAcross, "a thread for each word pair");
static_assert(sizeof(WordPair) == sizeof(uint2), "pairs are loaded and stored as one");

__device__ __forceinline__ WordPair load_pair(const WordPair* address) {
    const uint2 words = load_vector<uint2>(address);
    return WordPair{words.x, words.y};
}
__device__ __forceinline__ void store_pair(WordPair* address, const WordPair& pair) {
    store_vector(address, make_uint2(pair.upper, pair.lower));
}

__device__ __forceinline__ int lowest_bit(unsigned bits) {
    return __ffs(static_cast<int>(bits)) - 1;
}

/// Columns of a pair in which a pixel is set.
__device__ __forceinline__ unsigned columns_of(const WordPair& pair) {
    return pair.upper | pair.lower;
}
/// First columns of nodes that hang together with the node to their left, in the same pair.
__device__ __forceinline__ unsigned joins(unsigned columns) {
    return columns & (columns << 1U) & kFirstColumns;
}
/// First columns of runs.
__device__ __forceinline__ unsigned run_starts(unsigned columns) {
    return (columns | columns >> 1U) & kFirstColumns & ~joins(columns);
}
/// Columns of the run that starts at `start`, up to where the next node is that is not of it.
__device__ __forceinline__ unsigned run_from(unsigned columns, int start) {
    const unsigned ends = kFirstColumns & ~joins(columns) & (0xFFFFFFFEU << static_cast<unsigned>(start));
    return (0xFFFFFFFFU << static_cast<unsigned>(start)) & ((ends & (0U - ends)) - 1U);
}
/// Columns of the run that holds the set column `column`.
__device__ __forceinline__ unsigned run_with(unsigned columns, int column) {
    const unsigned starts = run_starts(columns) & ((2U << static_cast<unsigned>(column)) - 1U);
    return run_from(columns, 31 - __clz(static_cast<int>(starts)));
}
/// The first pixel in raster order of a run, as a distance from the pair's own first pixel.
__device__ __forceinline__ int first_pixel(const WordPair& pair, unsigned run, int pitch) {
    const unsigned upper = pair.upper & run;
    return upper != 0 ? lowest_bit(upper) : pitch + lowest_bit(pair.lower & run);
}
__device__ __forceinline__ int pixel_count(const WordPair& pair, unsigned run) {
    return __popc(pair.upper & run) + __popc(pair.lower & run);
}

/// A forest of keys in the block's shared memory.
struct TileForest {
    std::uint16_t* parents;

    /// Of a key's node. A word holds two nodes of one pair, and words of one column of nodes lie side by side: threads
    /// that look at nodes of their own pairs, whichever, meet different banks.
    __device__ static __forceinline__ int place_of(int key) {
        const int pair = (key >> 9) << 3 | (key >> 5 & 7);
        return (key >> 2 & 7) << 11 | pair << 1 | (key >> 1 & 1);
    }
    __device__ __forceinline__ int parent(int key) const { return racy_load(parents + place_of(key)); }
    __device__ __forceinline__ void set_parent(int key, int parent) const {
        racy_store(parents + place_of(key), static_cast<std::uint16_t>(parent));
    }
    /// Hangs the root `key` below `parent`; what was there before, `key` where it was a root.
    __device__ __forceinline__ int hang(int key, int parent) const {
        return atomicCAS(parents + place_of(key), static_cast<std::uint16_t>(key), static_cast<std::uint16_t>(parent));
    }
};

/// The root above a key. Halves the way on it: what another thread stores meanwhile is an ancestor too, only an older
/// or a newer one, and a root's place is changed by `hang` alone; so the loads and stores need no order.
template <typename Forest>
__device__ __forceinline__ int find_root(const Forest& forest, int key) {
    int parent = forest.parent(key);
    while (parent != key) {
        const int grandparent = forest.parent(parent);
        if (grandparent == parent) return parent;
        forest.set_parent(key, grandparent);
        key = grandparent;
        parent = forest.parent(key);
    }
    return key;
}

/// The root above a run, when no more trees are united, stored as its parent. Here each thread stores at its own runs
/// only, so that what it stores last stays. All threads walk at once, each by two steps of what the others have
/// reached: a chain of 128 rows takes seven rounds.
template <typename Forest>
__device__ __forceinline__ int settle(const Forest& forest, int run) {
    int root = forest.parent(run);
    for (;;) {
        const int parent = forest.parent(root);
        if (parent == root) return root;
        forest.set_parent(run, parent);
        root = parent;
    }
}

/// Makes one tree of two, below the smaller root: whatever the order in which threads come, the smallest key stays
/// root.
template <typename Forest>
__device__ __forceinline__ void unite(const Forest& forest, int first, int second) {
    for (;;) {
        first = find_root(forest, first);
        second = find_root(forest, second);
        if (first == second) return;
        const int larger = max(first, second);
        const int smaller = min(first, second);
        const int before = forest.hang(larger, smaller);
        if (before == larger) return;
        first = before;  // another thread was faster: `larger` hangs below this by now
        second = smaller;
    }
}

/// The pairs that a pair may touch, empty where there is none: each contact of two pairs is seen by the one below or to
/// the right.
struct Neighbours {
    WordPair left;
    WordPair up;
    WordPair up_left;
    WordPair up_right;
};

/// Unites the runs of a pair with those of its neighbours. `key` is that of its first pixel, `pitch` a row's keys.
template <typename Forest>
__device__ __forceinline__ void join_pair(const Forest& forest, const WordPair& own, int key, int pitch,
                                          const Neighbours& neighbours) {
    const unsigned columns = columns_of(own);
    const int key_up = key - 2 * pitch;
    const unsigned left = columns_of(neighbours.left);
    if ((columns & 1U) != 0 && left >> 31U != 0) {
        unite(forest, key + first_pixel(own, run_with(columns, 0), pitch),
              key - kPairColumns + first_pixel(neighbours.left, run_with(left, 31), pitch));
    }
    // Over a corner, unless the pixel beside the corner hangs together with both.
    if ((own.upper & 1U) != 0 && neighbours.up_left.lower >> 31U != 0 && (neighbours.up.lower & 1U) == 0) {
        const unsigned up_left = columns_of(neighbours.up_left);
        unite(forest, key + first_pixel(own, run_with(columns, 0), pitch),
              key_up - kPairColumns + first_pixel(neighbours.up_left, run_with(up_left, 31), pitch));
    }
    if (own.upper >> 31U != 0 && (neighbours.up_right.lower & 1U) != 0 && neighbours.up.lower >> 31U == 0) {
        const unsigned up_right = columns_of(neighbours.up_right);
        unite(forest, key + first_pixel(own, run_with(columns, 31), pitch),
              key_up + kPairColumns + first_pixel(neighbours.up_right, run_with(up_right, 0), pitch));
    }
    const unsigned up = columns_of(neighbours.up);
    for (unsigned starts = run_starts(columns); starts != 0; starts &= starts - 1U) {
        const unsigned run = run_from(columns, lowest_bit(starts));
        const unsigned upper = own.upper & run;
        unsigned contacts = (upper | upper << 1U | upper >> 1U) & neighbours.up.lower;
        while (contacts != 0) {
            const unsigned other = run_with(up, lowest_bit(contacts));
            unite(forest, key + first_pixel(own, run, pitch), key_up + first_pixel(neighbours.up, other, pitch));
            contacts &= ~other;
        }
    }
}

/// Of an image, what a block sees.
struct Tile {
    int row;  // of the mask
    int column;
    int rows;  // at most kTileSide
    int columns;
};

/// Shared memory of a block. Places of the forest are two to a word, and hold other things before and after.
struct TileMemory {
    WordPair* pairs;   // [kTileThreads]
    unsigned* forest;  // [kForestPlaces / 2]
    __device__ WordPair* others() const { return reinterpret_cast<WordPair*>(forest); }
    __device__ std::uint16_t* places() const { return reinterpret_cast<std::uint16_t*>(forest); }
};

/// Reads a tile's pixels, a warp two rows at a time, and keeps for each which side it lies on: `memory.pairs` have the
/// foreground, `memory.others()` the background where the input knows one. Threads of other warps read what is stored
/// here: a barrier must follow.
template <typename Input>
__device__ __forceinline__ void read_tile(const Input& input, const Tile& tile, int width, const TileMemory& memory) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
    const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
    for (int pair_row = warp; pair_row < kPairRows; pair_row += kTileWarps) {
        unsigned foreground = 0;
        unsigned background = 0;
        if (2 * pair_row < tile.rows) {
            typename Input::Element values[2 * kPairsAcross];
            // All loads are under way before the first value is looked at.
            RFK_UNROLL
            for (int word = 0; word < 2 * kPairsAcross; ++word) {
                const int row = 2 * pair_row + word / kPairsAcross;
                const int column = word % kPairsAcross * kPairColumns + lane;
                const bool is_inside = row < tile.rows && column < tile.columns;
                values[word] =
                    is_inside ? input.load((tile.row + row) * width + tile.column + column) : Input::neither();
            }
            // Lane `word` keeps that word.
            RFK_UNROLL
            for (int word = 0; word < 2 * kPairsAcross; ++word) {
                const unsigned word_of_foreground = __ballot_sync(kAllLanes, input.is_foreground(values[word]) ? 1 : 0);
                if (lane == word) foreground = word_of_foreground;
                if (Input::kHasBackground) {
                    const unsigned word_of_background =
                        __ballot_sync(kAllLanes, input.is_background(values[word]) ? 1 : 0);
                    if (lane == word) background = word_of_background;
                }
                const int row = 2 * pair_row + word / kPairsAcross;
                const int column = word % kPairsAcross * kPairColumns + lane;
                if (row < tile.rows && column < tile.columns) {
                    input.pass_on((tile.row + row) * width + tile.column + column, values[word]);
                }
            }
        }
        if (lane < 2 * kPairsAcross) {
            const int pair = pair_row * kPairsAcross + lane % kPairsAcross;
            reinterpret_cast<unsigned*>(memory.pairs)[2 * pair + lane / kPairsAcross] = foreground;
            if (Input::kHasBackground) memory.forest[2 * pair + lane / kPairsAcross] = background;
        }
    }
}

/// Adds the pixels of a thread's runs that are no roots to the counters of their roots. What lanes have first is often
/// of one component, whose counter would be changed 32 times: the warp adds that up.
__device__ __forceinline__ void add_areas(const WordPair& own, int key, unsigned runs, const TileMemory& memory) {
    const TileForest forest{memory.places()};
    const unsigned columns = columns_of(own);
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
    bool is_first = true;
    do {
        int place = -1;
        unsigned count = 0;
        if (runs != 0) {
            const unsigned run = run_from(columns, lowest_bit(runs));
            // Racy: the word's other half may be a counter. What is added there carries nothing into this half.
            place = TileForest::place_of(forest.parent(key + first_pixel(own, run, kTileSide)));
            count = static_cast<unsigned>(pixel_count(own, run));
            runs &= runs - 1U;
        }
        if (is_first) {
            const unsigned adding = __ballot_sync(kAllLanes, place >= 0 ? 1 : 0);
            const int leader = adding == 0 ? 0 : lowest_bit(adding);
            const bool is_shared = place == __shfl_sync(kAllLanes, place, leader);
            unsigned sum = is_shared ? count : 0U;
            RFK_UNROLL
            for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
                sum += __shfl_xor_sync(kAllLanes, sum, distance);
            }
            if (is_shared) {
                count = sum;
                if (lane != leader) place = -1;
            }
            is_first = false;
        }
        if (place >= 0) atomicAdd(memory.forest + place / 2, count << (place % 2 * 16));
    } while (runs != 0);
}

/// The components of `memory.pairs`, of which `own` is this thread's. The answer has a bit for each of the thread's
/// runs that is a root, at its start. A root's place then counts the component's pixels less one, any other run's holds
/// the key of its root.
///
/// Each thread has stored its pair. Nobody may read the forest's memory, or pairs of before, any more: a barrier lies
/// before that.
__device__ __forceinline__ unsigned find_components(const WordPair& own, const TileMemory& memory) {
    const int thread = static_cast<int>(threadIdx.x);
    const int pair_row = thread / kPairsAcross;
    const int across = thread % kPairsAcross;
    const int key = 2 * pair_row * kTileSide + across * kPairColumns;
    const unsigned columns = columns_of(own);
    const unsigned starts = run_starts(columns);
    const TileForest forest{memory.places()};
    for (unsigned rest = starts; rest != 0; rest &= rest - 1U) {
        const int run = key + first_pixel(own, run_from(columns, lowest_bit(rest)), kTileSide);
        forest.parents[TileForest::place_of(run)] = static_cast<std::uint16_t>(run);
    }
    __syncthreads();  // all pairs are there, and every run is a tree of its own, before the first two are united
    if (columns != 0) {
        const bool has_left = across > 0;
        const bool has_up = pair_row > 0;
        const WordPair none{0, 0};
        const WordPair* const pair = memory.pairs + thread;
        Neighbours neighbours;
        neighbours.left = has_left ? load_pair(pair - 1) : none;
        neighbours.up = has_up ? load_pair(pair - kPairsAcross) : none;
        neighbours.up_left = has_up && has_left ? load_pair(pair - kPairsAcross - 1) : none;
        neighbours.up_right = has_up && across + 1 < kPairsAcross ? load_pair(pair - kPairsAcross + 1) : none;
        join_pair(forest, own, key, kTileSide, neighbours);
    }
    __syncthreads();  // all are united: roots stay roots, and no thread stores at others' runs any more
    unsigned roots = 0;
    for (unsigned rest = starts; rest != 0; rest &= rest - 1U) {
        const int start = lowest_bit(rest);
        const int run = key + first_pixel(own, run_from(columns, start), kTileSide);
        if (settle(forest, run) == run) roots |= 1U << static_cast<unsigned>(start);
    }
    __syncthreads();  // nobody walks up to a root any more: its place may hold something else
    for (unsigned rest = roots; rest != 0; rest &= rest - 1U) {
        const unsigned run = run_from(columns, lowest_bit(rest));
        forest.parents[TileForest::place_of(key + first_pixel(own, run, kTileSide))] =
            static_cast<std::uint16_t>(pixel_count(own, run) - 1);
    }
    __syncthreads();  // all counters are set before anything is added
    add_areas(own, key, starts & ~roots, memory);
    __syncthreads();  // the counters are complete
    return roots;
}

/// After find_components: the key of a run's root, and how many pixels its component has.
struct Component {
    int root;
    int area;
};
__device__ __forceinline__ Component component_of(const TileMemory& memory, int run, bool is_root) {
    const std::uint16_t* const places = memory.places();
    const int root = is_root ? run : places[TileForest::place_of(run)];
    return Component{root, places[TileForest::place_of(root)] + 1};
}

/// Stores `value` where `changed` has bits, by warps: each pair's rows at once.
template <typename Element>
__device__ __forceinline__ void write_changed(const WordPair& changed, const Tile& tile, int width, Element value,
                                              Element* out) {
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpLanes;
    unsigned pending = __ballot_sync(kAllLanes, columns_of(changed) != 0 ? 1 : 0);
    while (pending != 0) {
        const int owner = lowest_bit(pending);
        pending &= pending - 1U;
        const unsigned upper = __shfl_sync(kAllLanes, changed.upper, owner);
        const unsigned lower = __shfl_sync(kAllLanes, changed.lower, owner);
        const int pair = thread - lane + owner;
        const std::int64_t pixel = static_cast<std::int64_t>(tile.row + 2 * (pair / kPairsAcross)) * width +
                                   tile.column + pair % kPairsAcross * kPairColumns + lane;
        if ((upper >> lane & 1U) != 0) out[pixel] = value;
        if ((lower >> lane & 1U) != 0) out[pixel + width] = value;
    }
}

}  // namespace
}  // namespace rfkernels::RFK_DEVICE
