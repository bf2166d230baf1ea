#pragma once

#include "bit_mask.h"
#include "rfkernels/masks.h"

namespace rfkernels {

/// Which pixels of a mask a tracing has passed; kept from one mask to the next for its memory.
struct TracedPixels {
    BitMask passed;
    BitMask left_to_the_right;  ///< of those passed, the ones whose right neighbour the outline has seen to be outside
};

/// Appends the outlines of a mask to `polygons`, points in pixels of the grid.
void append_contours(const BitMask& mask, ContourChoice choice, TracedPixels* traced, Polygons* polygons);

}  // namespace rfkernels
