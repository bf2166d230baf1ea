#pragma once

#include <cstdint>

#include "ops/preprocess/normalization.h"
#include "ops/preprocess/preprocess_kernels.h"
#include "ops/preprocess/scratch.h"
#include "rfkernels/placement.h"

namespace rfkernels {

/// The source pixels [first, first + count) make a resized one.
struct AntialiasedWindow {
    std::int64_t first;
    std::int64_t count;
};

/// The most that any window of an axis has.
std::int64_t most_antialiased_taps(std::int64_t source_side, std::int64_t resized_side);

/// The window of resized pixel `index`, whose first and last weight are not 0, and its weights, of which there is room
/// for the most taps. They add up to about 2^22.
AntialiasedWindow antialiased_window(std::int64_t source_side, std::int64_t resized_side, std::int64_t index,
                                     std::int32_t* weights);

/// What `plan_antialiased` takes of the scratch memory for `columns` times `rows` resized pixels.
std::int64_t antialiased_scratch_bytes(const Placement& placement, std::int64_t columns, std::int64_t rows);

/// The taps of the visible columns and rows, and memory for the rows in between. `row_bytes` are those of the image's
/// row from the crop's first pixel on.
AntialiasedPlan plan_antialiased(const Placement& placement, int channels, std::int64_t row_bytes,
                                 const Visible& columns, const Visible& rows, Scratch* scratch);

}  // namespace rfkernels
