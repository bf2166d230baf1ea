#include "run_components.h"

#include <algorithm>

#include "component_arithmetic.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kWordBits = 64;
/// Two edges, label and area, a parent.
constexpr std::int64_t kNumbersOfRun = 5;

std::int64_t runs_of(const std::uint64_t* words, std::int64_t word_count) {
    std::int64_t count = 0;
    std::uint64_t before = 0;
    for (std::int64_t word = 0; word < word_count; ++word) {
        count += __builtin_popcountll(words[word] & ~(words[word] << 1U | before));
        before = words[word] >> 63U;
    }
    return count;
}

/// Halves the way for the next one who goes it.
std::int32_t root_of(std::int32_t run, std::int32_t* parents) {
    while (parents[run] != run) run = parents[run] = parents[parents[run]];
    return run;
}

}  // namespace

void RunComponents::reset(std::int64_t height, std::int64_t width) {
    height_ = height;
    width_ = static_cast<std::int32_t>(width);
    row_words_ = (width + kWordBits - 1) / kWordBits;
    bits_.resize(static_cast<std::size_t>(height * row_words_));
    first_runs_.resize(static_cast<std::size_t>(height + 1));
}

void RunComponents::find() {
    // Counted first, so that there is memory for as many as there are and not for rows of every second pixel.
    count_runs();
    reserve_runs(first_runs_[height_]);
    for (std::int64_t y = 0; y < height_; ++y) {
        append_runs(y);
        if (y > 0) join_to_row_above(y);
    }
    for (std::int64_t y = 0; y < height_; ++y) resolve_roots(y);
}

RowRuns RunComponents::row_runs(std::int64_t y) const {
    const std::int64_t first = first_runs_[y];
    return RowRuns{edges_ + 2 * first, parents_ + first, components_, first_runs_[y + 1] - first};
}

void RunComponents::count_runs() {
    std::int64_t count = 0;
    for (std::int64_t y = 0; y < height_; ++y) {
        first_runs_[y] = static_cast<std::int32_t>(count);
        count += runs_of(row_bits(y), row_words_);
    }
    first_runs_[height_] = static_cast<std::int32_t>(count);
}

void RunComponents::reserve_runs(std::int64_t run_count) {
    if (run_count > capacity_) {
        memory_.reset();
        capacity_ = 0;
        memory_.reset(new std::int32_t[static_cast<std::size_t>(run_count * kNumbersOfRun)]);
        capacity_ = run_count;
    }
    edges_ = memory_.get();
    components_ = edges_ + 2 * run_count;
    parents_ = components_ + 2 * run_count;
}

void RunComponents::append_runs(std::int64_t y) {
    const std::uint64_t* words = row_bits(y);
    std::int32_t* edge = edges_ + 2 * std::int64_t{first_runs_[y]};
    std::uint64_t before = 0;
    for (std::int64_t word = 0; word < row_words_; ++word) {
        std::uint64_t turns = words[word] ^ (words[word] << 1U | before);
        before = words[word] >> 63U;
        for (; turns != 0; turns &= turns - 1)
            *edge++ = static_cast<std::int32_t>(word * kWordBits + __builtin_ctzll(turns));
    }
    // Where the last word is full there is no bit behind a run that reaches the border, for it to end at.
    if (before != 0) *edge = width_;
    for (std::int32_t run = first_runs_[y]; run < first_runs_[y + 1]; ++run) parents_[run] = run;
}

void RunComponents::join_to_row_above(std::int64_t y) {
    const std::int32_t* edges = edges_;
    std::int32_t* parents = parents_;
    std::int64_t above = first_runs_[y - 1];
    const std::int64_t above_end = first_runs_[y];
    for (std::int32_t run = first_runs_[y]; run < first_runs_[y + 1]; ++run) {
        const std::int32_t begin = edges[2 * std::int64_t{run}], end = edges[2 * std::int64_t{run} + 1];
        // Runs touch, too, where one begins at the column that the other has ended at: by a corner.
        while (above < above_end && edges[2 * above + 1] < begin) ++above;
        std::int32_t root = run;
        while (above < above_end && edges[2 * above] <= end) {
            // The earlier root stays one: it holds the component's first pixel.
            const std::int32_t other = root_of(static_cast<std::int32_t>(above), parents);
            const std::int32_t earlier = std::min(root, other);
            parents[std::max(root, other)] = earlier;
            root = earlier;
            // One that goes on beyond this run may touch the next one.
            if (edges[2 * above + 1] > end) break;
            ++above;
        }
    }
}

void RunComponents::resolve_roots(std::int64_t y) {
    for (std::int32_t run = first_runs_[y]; run < first_runs_[y + 1]; ++run) {
        const std::int32_t begin = edges_[2 * std::int64_t{run}], end = edges_[2 * std::int64_t{run} + 1];
        // The parent is an earlier run, and has its root for a parent by now.
        const std::int32_t root = parents_[parents_[run]];
        parents_[run] = root;
        std::int32_t* component = components_ + 2 * std::int64_t{root};
        if (root == run) {
            component[0] = label_of_first_pixel(static_cast<std::int32_t>(y), begin, width_);
            component[1] = 0;
        }
        component[1] += end - begin;
    }
}

}  // namespace rfkernels
