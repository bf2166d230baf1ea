#pragma once

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"
#include "ops/preprocess/scratch.h"
#include "rfkernels/image.h"
#include "rfkernels/placement.h"
#include "rfkernels/preprocess.h"

namespace rfkernels {

/// Channels of the pixels that an NV12 image's rows become.
constexpr int kNv12PixelBytes = 4;

/// What the functions below take of the scratch memory for `columns` resized ones.
std::int64_t nv12_scratch_bytes(const Placement& placement, Interpolation interpolation, std::int64_t columns);

/// How rows are converted for a bilinear plan, whose offsets count pixels of 4 bytes from the crop's first one and
/// become those in a converted row.
Nv12Plan plan_nv12_bilinear(const ImageView& image, const Placement& placement, Scratch* scratch, DrawPlan* plan);

/// The same for an antialiased one with `column_count` columns.
Nv12Plan plan_nv12_antialiased(const ImageView& image, const Placement& placement, std::int64_t column_count,
                               Scratch* scratch, AntialiasedPlan* taps);

}  // namespace rfkernels
