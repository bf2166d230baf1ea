#pragma once

#include <cstdint>

#include "rfkernels/status.h"

namespace rfkernels {

constexpr int kNeighbours = 9;

/// A grid of pixels, and which rows of a matrix of features they are: pixel p of it is row first_row + p.
struct FeatureGrid {
    std::int64_t height = 0;
    std::int64_t width = 0;
    std::int32_t first_row = 0;
    std::int32_t outside_row = 0;  ///< the row that stands for what is outside the grid: zeros
};

/// Memory for one grid's rows, and how many of them are written.
struct Neighbourhoods {
    std::int32_t* outer = nullptr;  ///< [outer_capacity, 9]
    std::int32_t* inner = nullptr;  ///< [inner_capacity, 9]
    std::int64_t outer_capacity = 0;
    std::int64_t inner_capacity = 0;
    std::int64_t outer_count = 0;
    std::int64_t inner_count = 0;
};

/// Numbers of rows, ascending, that a runtime is to meet: rows are added until one of them is reached.
struct RowCounts {
    const std::int64_t* allowed = nullptr;
    std::int64_t count = 0;
};

/// Which rows two 3 x 3 convolutions, one after the other, need for their values at a few pixels of several grids.
///
/// Pixels are numbered through all grids: those of the second grid begin where those of the first end, as the anchors
/// of a detection head do. For each grid, its own pixels being `pixels`:
///
///   needed   the pixels of the grid in the 3 x 3 neighbourhoods of `pixels`, ascending, each once
///   outer[k] the 3 x 3 neighbours of the k-th needed pixel, row by row, as rows of the features
///   inner[k] the 3 x 3 neighbours of pixels[k] as places among the needed, counted from 1; 0 is outside the grid
///
/// The first convolution is then a product of outer's rows, the second one of inner's rows of [0, what the first gave].
///
/// pixels      int32, first those of the first grid, in any order, then those of the next; one may be given twice
/// counts      [grid_count], how many belong to each grid
/// results     [grid_count]; min(9 * count, pixels of the grid) rows of outer and count rows of inner are always enough
///             where none are added
/// row_counts  rows are added to outer (outside_row) and inner (0) up to the least allowed number that is not below
///             theirs, as far as the capacity reaches; none where every allowed number is below theirs
///
/// Moves: the pixels of the grids once (4 bytes each), what it writes once.
Status write_neighbourhoods(const std::int32_t* pixels, const std::int64_t* counts, const FeatureGrid* grids,
                            std::int64_t grid_count, const RowCounts& row_counts, Neighbourhoods* results);

}  // namespace rfkernels
