#pragma once

#include <cstdint>

namespace rfkernels {

enum class ThresholdSide : std::uint8_t { kForeground, kBackground };

/// Which of `count` bytes are not 0: bit i % 64 of word i / 64. Bits beyond them are 0.
using NonzeroWords = void(const std::uint8_t* bytes, std::int64_t count, std::uint64_t* words);

/// Which of `count` logits lie on a side of the threshold, likewise.
using ThresholdWords = void(const float* logits, std::int64_t count, float threshold, ThresholdSide side,
                            std::uint64_t* words);

/// One row's runs, and what is known of their components.
struct RowRuns {
    const std::int32_t* edges = nullptr;       ///< [count, 2] ascending: where a run begins, where it has ended
    const std::int32_t* roots = nullptr;       ///< [count] of each run the first one of its component
    const std::int32_t* components = nullptr;  ///< [all runs, 2] of the first ones label and area
    std::int64_t count = 0;
};

/// A row of labels and areas, [width] each. Up to `room` elements may be written (room >= width): what follows the row
/// is written after it.
using WriteRow = void(const RowRuns& runs, std::int64_t width, std::int64_t room, std::int32_t* labels,
                      std::int32_t* areas);

namespace baseline {
NonzeroWords nonzero_words;
ThresholdWords threshold_words;
WriteRow write_row;
}  // namespace baseline

#if defined(RFK_X86_VARIANTS)
namespace avx2 {
NonzeroWords nonzero_words;
ThresholdWords threshold_words;
WriteRow write_row;
}  // namespace avx2

namespace avx512 {
NonzeroWords nonzero_words;
ThresholdWords threshold_words;
WriteRow write_row;
}  // namespace avx512
#endif

struct ComponentKernels {
    NonzeroWords* nonzero_words = nullptr;
    ThresholdWords* threshold_words = nullptr;
    WriteRow* write_row = nullptr;
};

}  // namespace rfkernels
