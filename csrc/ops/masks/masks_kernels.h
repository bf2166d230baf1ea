#pragma once

#include <cstdint>

#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// Prototypes of one image: pixel p of channel c is element c * channel_step + p * pixel_step; one of the steps is 1.
struct PrototypeValues {
    const void* data = nullptr;
    DataType dtype = DataType::kFloat32;
    std::int64_t channel_step = 0;
    std::int64_t pixel_step = 0;
    std::int64_t channels = 0;
};

/// Values of pixels [first_pixel, first_pixel + count) to out [count], summed as masks.h says.
using MixPrototypes = void(const PrototypeValues& prototypes, const float* coefficients, std::int64_t first_pixel,
                           std::int64_t count, float* out);

/// values [count] to sigmoid(value) - 1/2: above 0 where the probability is above 1/2.
using CentreProbabilities = void(float* values, std::int64_t count);

/// Floats of the widest vector of any instruction set.
constexpr int kMostLanes = 16;

/// One row of a resampling: out[i] = sum over t of weights[t * weight_step + i] * row[first[i] - base + t], i < count.
struct RowResampling {
    const std::int32_t* first = nullptr;
    const std::int32_t* run_ends = nullptr;  ///< of each i the next one with another `first`, counted from `place`
    std::int64_t place = 0;
    const float* weights = nullptr;  ///< readable for a vector that begins at the last result
    std::int64_t weight_step = 0;
    int taps = 0;
    std::int32_t base = 0;
    std::int64_t count = 0;
};
/// out [count + kMostLanes]: zeros follow the results.
using ResampleRow = void(const float* row, const RowResampling& resampling, float* out);

/// Which of `word_count` * 64 values are above 0: bit i % 64 of word i / 64.
using SignWords = void(const float* values, std::int64_t word_count, std::uint64_t* words);

/// Words of bits where weighted sums of the same few rows are above 0.
///
/// rows     [taps], each [word_count * 64]
/// signs    [taps], each [word_count] of the same rows: where all agree, nothing is computed
/// weights  of tap t in sum i: element t * weight_step + i, none negative
struct RowBlend {
    const float* const* rows = nullptr;
    const std::uint64_t* const* signs = nullptr;
    const float* weights = nullptr;
    std::int64_t weight_step = 0;
    int taps = 0;
    std::int64_t word_count = 0;
    std::int64_t sum_count = 0;
};
/// Sum i to words [i * word_step, i * word_step + word_count).
using BlendRows = void(const RowBlend& blend, std::int64_t word_step, std::uint64_t* words);

namespace baseline {
MixPrototypes mix_prototypes;
CentreProbabilities centre_probabilities;
ResampleRow resample_row;
SignWords sign_words;
BlendRows blend_rows;
}  // namespace baseline

#if defined(RFK_X86_VARIANTS)
namespace avx2 {
MixPrototypes mix_prototypes;
CentreProbabilities centre_probabilities;
ResampleRow resample_row;
SignWords sign_words;
BlendRows blend_rows;
}  // namespace avx2

namespace avx512 {
MixPrototypes mix_prototypes;
CentreProbabilities centre_probabilities;
ResampleRow resample_row;
SignWords sign_words;
BlendRows blend_rows;
}  // namespace avx512
#endif

struct MaskKernels {
    MixPrototypes* mix_prototypes = nullptr;
    CentreProbabilities* centre_probabilities = nullptr;
    ResampleRow* resample_row = nullptr;
    SignWords* sign_words = nullptr;
    BlendRows* blend_rows = nullptr;
};

/// Those of the active instruction set.
Status mask_kernels(MaskKernels* kernels);

}  // namespace rfkernels
