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

/// Which rows two 3 x 3 convolutions, one after the other, need for their values at a few pixels.
///
///   needed   the pixels of the grid in the 3 x 3 neighbourhoods of `pixels`, ascending, each once
///   outer[k] the 3 x 3 neighbours of the k-th needed pixel, row by row, as rows of the features
///   inner[k] the 3 x 3 neighbours of pixels[k] as places among the needed, counted from 1; 0 is outside the grid
///
/// The first convolution is then a product of outer's rows, the second one of inner's rows of [0, what the first gave].
///
/// pixels         int32 [count], row * width + column, in any order; one may be given twice
/// outer          int32 [outer_capacity, 9], of which the first needed_count rows are written; min(9 * count, pixels of
///                the grid) rows are always enough
/// inner          int32 [count, 9]
///
/// Moves: the pixels of the grid once (4 bytes each), what it writes once.
Status write_neighbourhoods(const std::int32_t* pixels, std::int64_t count, const FeatureGrid& grid,
                            std::int32_t* outer, std::int64_t outer_capacity, std::int32_t* inner,
                            std::int64_t* needed_count);

}  // namespace rfkernels
