#pragma once

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"
#include "ops/preprocess/scratch.h"
#include "rfkernels/placement.h"

namespace rfkernels {

/// The part [begin, end) of an axis of the resized image that a canvas shows.
struct Visible {
    std::int64_t begin;
    std::int64_t end;
};

/// What `plan_antialiased` takes of the scratch memory for `columns` times `rows` resized pixels.
std::int64_t antialiased_scratch_bytes(const Placement& placement, std::int64_t columns, std::int64_t rows);

/// The taps of the visible columns and rows, and memory for the rows in between. `row_bytes` are those of the image's
/// row from the crop's first pixel on.
AntialiasedPlan plan_antialiased(const Placement& placement, int channels, std::int64_t row_bytes,
                                 const Visible& columns, const Visible& rows, Scratch* scratch);

}  // namespace rfkernels
