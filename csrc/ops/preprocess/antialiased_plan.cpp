#include "ops/preprocess/antialiased_plan.h"

#include <algorithm>
#include <cmath>

namespace rfkernels {
namespace {

/// Rows that are held at most: of a window of more, a part at a time is made and added up.
constexpr std::int64_t kMostRowsAtOnce = 256;
constexpr double kWeightOne = 4194304.0;  // 2^22: the weights of a resized pixel add up to about this
/// A weight's lower bits and the others: each part fits 16 bits, for which there is a quick multiplication.
constexpr int kLowBits = 15;

/// An axis of Interpolation::kAntialiased.
struct Axis {
    std::int64_t source_side;
    double step;
    double support;

    Axis(std::int64_t source, std::int64_t resized)
        : source_side(source),
          step(static_cast<double>(source) / static_cast<double>(resized)),
          support(std::max(step, 1.0)) {}

    /// Taps of a resized pixel, at most: those of weight 0 in the middle and no others. A weight that does not become 0
    /// is nearer to the centre than support * (1 - 2^-24), so that the rounding of `support` cannot make them more.
    std::int64_t most_taps() const {
        return std::min(source_side, static_cast<std::int64_t>(std::ceil(2.0 * support)));
    }
};

using Window = AntialiasedWindow;

/// The window of resized pixel `index`, whose first and last weight are not 0, and its weights (`most_taps` at most).
///
/// A weight of at least 0.5 before it is cut is at most doubled by that, any other becomes 0. Their sum is thus at most
/// 2^23 (and a hair), and 255 times it and 2^21 fit 31 bits, however large the image is.
Window weigh(const Axis& axis, std::int64_t index, std::int32_t* weights) {
    const double centre = (static_cast<double>(index) + 0.5) * axis.step;
    const double inverse_support = 1.0 / axis.support;
    const std::int64_t begin = std::max<std::int64_t>(static_cast<std::int64_t>(centre - axis.support + 0.5), 0);
    const std::int64_t end = std::min(static_cast<std::int64_t>(centre + axis.support + 0.5), axis.source_side);
    // Pillow's order of operations: another one rounds otherwise.
    const auto weight = [&](std::int64_t pixel) {
        const double distance = std::abs((static_cast<double>(pixel) - centre + 0.5) * inverse_support);
        return distance < 1.0 ? 1.0 - distance : 0.0;
    };
    double sum = 0.0;
    for (std::int64_t pixel = begin; pixel < end; ++pixel) sum += weight(pixel);
    const std::int64_t most = axis.most_taps();
    Window window{begin, 0};
    std::int64_t last = 0;  // past the last weight that is not 0
    for (std::int64_t pixel = begin; pixel < end && window.count < most; ++pixel) {
        const std::int32_t whole = static_cast<std::int32_t>(0.5 + weight(pixel) / sum * kWeightOne);
        if (window.count == 0 && whole == 0) continue;
        if (window.count == 0) window.first = pixel;
        weights[window.count++] = whole;
        if (whole != 0) last = window.count;
    }
    window.count = last;
    return window;
}

std::int64_t pairs_of(const Axis& axis) {
    return (axis.most_taps() + 1) / 2;
}

std::int64_t rows_at_once(const Axis& axis) {
    return std::min(axis.most_taps(), kMostRowsAtOnce);
}

/// Enough for the rows of one part, and what is made beyond them.
std::int64_t held_rows(const Axis& axis) {
    return (rows_at_once(axis) + 2 * kMostRowsTogether - 2) / kMostRowsTogether * kMostRowsTogether;
}

/// Weights in the order in which pairs are multiplied: two lower parts, two upper parts.
void split_weights(const std::int32_t* weights, std::int64_t count, std::int64_t pairs, std::int16_t* target) {
    for (std::int64_t tap = 0; tap < 2 * pairs; ++tap) {
        const std::int32_t weight = tap < count ? weights[tap] : 0;
        std::int16_t* pair = target + tap / 2 * 4;
        pair[tap % 2] = static_cast<std::int16_t>(weight & ((1 << kLowBits) - 1));
        pair[2 + tap % 2] = static_cast<std::int16_t>(weight >> kLowBits);
    }
}

void plan_columns(const Axis& axis, int channels, std::int64_t row_bytes, const Visible& columns, Scratch* scratch,
                  AntialiasedPlan* plan) {
    const std::int64_t count = columns.end - columns.begin;
    const std::int64_t pairs = pairs_of(axis);
    std::int32_t* offsets = scratch->take<std::int32_t>(count);
    std::int16_t* weights = scratch->take<std::int16_t>(4 * pairs * count);
    std::int32_t* whole = scratch->take<std::int32_t>(axis.most_taps());
    // Two pairs of pixels are read as 16 bytes.
    const std::int64_t bytes_read = ((pairs + 1) / 2 - 1) * 4 * channels + 16;
    plan->wide_column_count = 0;
    for (std::int64_t column = 0; column < count; ++column) {
        const Window window = weigh(axis, columns.begin + column, whole);
        split_weights(whole, window.count, pairs, weights + 4 * pairs * column);
        offsets[column] = static_cast<std::int32_t>(window.first * channels);
        if (offsets[column] + bytes_read <= row_bytes) plan->wide_column_count = column + 1;
    }
    plan->column_offsets = offsets;
    plan->column_weights = weights;
    plan->column_pairs = pairs;
}

void plan_rows(const Axis& axis, const Visible& rows, Scratch* scratch, AntialiasedPlan* plan) {
    const std::int64_t count = rows.end - rows.begin;
    plan->row_taps = axis.most_taps();
    std::int32_t* firsts = scratch->take<std::int32_t>(count);
    std::int32_t* counts = scratch->take<std::int32_t>(count);
    std::int32_t* weights = scratch->take<std::int32_t>(plan->row_taps * count);
    plan->first_row = axis.source_side - 1;
    plan->last_row = 0;
    for (std::int64_t row = 0; row < count; ++row) {
        const Window window = weigh(axis, rows.begin + row, weights + plan->row_taps * row);
        firsts[row] = static_cast<std::int32_t>(window.first);
        counts[row] = static_cast<std::int32_t>(window.count);
        if (window.count == 0) continue;
        plan->first_row = std::min(plan->first_row, window.first);
        plan->last_row = std::max(plan->last_row, window.first + window.count - 1);
    }
    plan->row_firsts = firsts;
    plan->row_counts = counts;
    plan->row_weights = weights;
}

}  // namespace

std::int64_t most_antialiased_taps(std::int64_t source_side, std::int64_t resized_side) {
    return Axis(source_side, resized_side).most_taps();
}

AntialiasedWindow antialiased_window(std::int64_t source_side, std::int64_t resized_side, std::int64_t index,
                                     std::int32_t* weights) {
    return weigh(Axis(source_side, resized_side), index, weights);
}

std::int64_t antialiased_scratch_bytes(const Placement& placement, std::int64_t columns, std::int64_t rows) {
    const Axis horizontal(placement.crop.width, placement.resized_width);
    const Axis vertical(placement.crop.height, placement.resized_height);
    const std::int64_t pitch = Scratch::padded(columns);
    return Scratch::padded(4 * columns) + Scratch::padded(8 * pairs_of(horizontal) * columns) +
           Scratch::padded(4 * horizontal.most_taps()) + 2 * Scratch::padded(4 * rows) +
           Scratch::padded(4 * vertical.most_taps() * rows) + Scratch::padded(4 * pitch * held_rows(vertical)) +
           Scratch::padded(4 * pitch * 4) + Scratch::padded(3 * pitch);
}

AntialiasedPlan plan_antialiased(const Placement& placement, int channels, std::int64_t row_bytes,
                                 const Visible& columns, const Visible& rows, Scratch* scratch) {
    AntialiasedPlan plan;
    const Axis vertical(placement.crop.height, placement.resized_height);
    plan_columns(Axis(placement.crop.width, placement.resized_width), channels, row_bytes, columns, scratch, &plan);
    plan_rows(vertical, rows, scratch, &plan);
    const std::int64_t pitch = Scratch::padded(columns.end - columns.begin);
    plan.rows_at_once = rows_at_once(vertical);
    plan.held_row_count = held_rows(vertical);
    plan.held_rows = scratch->take<std::uint8_t>(4 * pitch * plan.held_row_count);
    plan.sums = scratch->take<std::int32_t>(4 * pitch);
    return plan;
}

}  // namespace rfkernels
