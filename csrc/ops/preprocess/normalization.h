#pragma once

// What the CPU and the CUDA implementation plan alike.

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"
#include "rfkernels/preprocess.h"

namespace rfkernels {

/// The numbers of the three destination channels, whether they divide by `first` (where two products would not be
/// exact), and whether any divisor differs from 1.
void plan_normalization(const PreprocessParams& params, ChannelNormalization* normalization, bool* exact_division,
                        bool* divides);

/// The part [begin, end) of an axis of the resized image that a canvas shows.
struct Visible {
    std::int64_t begin;
    std::int64_t end;
};

/// Of `size` resized pixels, the first at `start` of the canvas.
Visible visible(std::int64_t start, std::int64_t size, std::int64_t canvas_size);

}  // namespace rfkernels
