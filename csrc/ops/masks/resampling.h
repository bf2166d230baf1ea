#pragma once

#include <cstdint>
#include <vector>

namespace rfkernels {

/// How the pixels of one axis are made of those of another: result i is the sum over t < taps of
/// weights[t * weight_step + i] * source[first[i] + t]. Positions may lie outside of the source; first is ascending.
struct Resampling {
    std::int64_t size = 0;
    int taps = 0;
    std::vector<std::int32_t> first;     ///< [size]
    std::vector<std::int32_t> run_ends;  ///< [size] for each result the first one after it with another `first`
    std::int64_t weight_step = 0;        ///< size and room for a vector that begins at the last result
    std::vector<float> weights;          ///< [taps, weight_step]
};

/// Which of a `source_size` pixels, starting at `source_first`, of an axis of prototypes become `size` pixels.
///
/// antialias    the triangle filter, as wide as the pixels of the result where these are larger than those of the
///              source (torch's bilinear interpolation with antialias)
/// otherwise    linear interpolation between the centres of two pixels, the outermost ones repeated
/// presampling  the axis is first enlarged so many times, linearly, and source_first and source_size count its pixels;
///              `prototype_size` is its size before
Resampling plan_resampling(std::int64_t source_first, std::int64_t source_size, std::int64_t size, bool antialias,
                           int presampling, std::int64_t prototype_size);

}  // namespace rfkernels
