#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rfkernels/detection.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// Anchors of one scale among those of all.
struct Grid {
    std::int64_t columns = 0;
    std::int64_t anchor_count = 0;
    std::int64_t first_anchor = 0;
    float stride = 0.0f;
};

/// Reads one scale's size, of sides from 1 to 2^31 - 1, and adds its anchors to those counted so far.
Status read_grid(std::int64_t rows, std::int64_t columns, std::int64_t stride, const std::string& stride_name,
                 std::int64_t* anchor_count, Grid* grid);

/// Reads the sizes of all scales.
Status read_grids(const AnchorGrid* grids, std::int64_t grid_count, std::vector<Grid>* read);

}  // namespace rfkernels
