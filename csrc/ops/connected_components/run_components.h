#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "connected_components_kernels.h"

namespace rfkernels {

/// A mask as bits, and then as runs of foreground pixels joined to components. Memory is kept from one mask to the
/// next.
///
/// Runs are numbered in raster order; a component's first run, its root, stands for it.
class RunComponents {
  public:
    /// Makes room for the bits of a mask. Sides from 1, height * width at most kMostMaskPixels.
    void reset(std::int64_t height, std::int64_t width);

    /// To be written whole, before `find`: pixel x of the row is bit x % 64 of word x / 64, bits beyond it are 0.
    std::uint64_t* row_bits(std::int64_t y) { return bits_.data() + y * row_words_; }

    /// Finds the runs, joins them, and counts the components' pixels.
    void find();

    RowRuns row_runs(std::int64_t y) const;

  private:
    void count_runs();
    void reserve_runs(std::int64_t run_count);
    void append_runs(std::int64_t y);
    void join_to_row_above(std::int64_t y);
    void resolve_roots(std::int64_t y);

    std::int64_t height_ = 0;
    std::int32_t width_ = 0;
    std::int64_t row_words_ = 0;
    std::vector<std::uint64_t> bits_;
    std::vector<std::int32_t> first_runs_;  ///< [height + 1] of each row, and their number

    // One block, of which nothing is written before it is known: with a vector for each a mask of noise takes a fifth
    // longer, most of it in the system, which zeroes fresh pages.
    std::unique_ptr<std::int32_t[]> memory_;
    std::int64_t capacity_ = 0;           ///< runs that it holds
    std::int32_t* edges_ = nullptr;       ///< [runs, 2], as RowRuns has them
    std::int32_t* components_ = nullptr;  ///< [runs, 2] likewise
    std::int32_t* parents_ = nullptr;     ///< [runs] a run of the same component, not a later one; of a root itself
};

}  // namespace rfkernels
