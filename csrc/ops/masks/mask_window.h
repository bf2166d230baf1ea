#pragma once

#include <cstdint>
#include <vector>

#include "bit_mask.h"
#include "masks_kernels.h"
#include "resampling.h"
#include "rfkernels/masks.h"

namespace rfkernels {

/// What every mask of an image shares: how its prototypes lie in memory, and how they become the grid.
struct MaskPlan {
    MaskGrid grid;
    PrototypeValues prototypes;
    Resampling columns;
    Resampling rows;
    MaskKernels kernels;
};

/// Memory of `draw_mask`, kept from one mask to the next.
struct MaskMemory {
    std::vector<float> values;         ///< of the box's window, at prototype pixels
    std::vector<float> wide;           ///< the same, resized along the rows
    std::vector<std::uint64_t> signs;  ///< which of these are above 0
    std::vector<const float*> tap_rows;
    std::vector<const std::uint64_t*> tap_signs;
};

/// Whether a grid is one of plan_mask_grid's.
Status check_grid(const MaskGrid& grid);

/// Checks everything that does not depend on a single mask.
Status plan_masks(const MaskSources& sources, const MaskGrid& grid, MaskPlan* plan);

/// Draws one mask in the window that its box can reach; an empty mask has an empty window.
///
/// box           float32 [4], of the network's input
/// coefficients  float32 [channels]
void draw_mask(const MaskPlan& plan, const float* box, const float* coefficients, MaskMemory* memory, BitMask* mask);

}  // namespace rfkernels
