#include "mask_window.h"

#include <algorithm>
#include <cmath>

namespace rfkernels {
namespace {

/// Half-open range of pixels of an axis.
struct Range {
    std::int64_t first = 0;
    std::int64_t end = 0;

    bool empty() const { return end <= first; }
    std::int64_t size() const { return end - first; }
};

Range both(const Range& a, const Range& b) {
    return Range{std::max(a.first, b.first), std::min(a.end, b.end)};
}

/// One axis of the box: where it cuts the prototypes, and which pixels of the resized picture can be inside.
struct Cut {
    Range prototypes;  ///< values outside count as outside the object
    Range resized;
};

/// The pixels p with low <= p < high, of [0, size). Empty where one of them is NaN.
Range pixels_between(float low, float high, std::int64_t size) {
    if (!(low < high)) return Range{};
    const auto bounded = [&](float edge) {
        return static_cast<std::int64_t>(std::ceil(std::min(std::max(edge, 0.0f), static_cast<float>(size))));
    };
    return Range{bounded(low), std::min(bounded(high), size)};
}

/// The results that have a tap within `source`.
Range results_of(const Resampling& resampling, const Range& source) {
    const auto begin = resampling.first.begin();
    const auto first = std::lower_bound(begin, resampling.first.end(), source.first - resampling.taps + 1);
    const auto end = std::lower_bound(begin, resampling.first.end(), source.end);
    return Range{first - begin, end - begin};
}

Cut cut_axis(float low, float high, bool cut_probabilities, std::int64_t prototype_size, std::int64_t grid_size,
             std::int64_t offset, const Resampling& resampling) {
    if (!(std::isfinite(low) && std::isfinite(high))) return Cut{};
    const Range all{0, prototype_size};
    if (cut_probabilities) {
        const Range kept = pixels_between(std::nearbyint(low), std::nearbyint(high), prototype_size);
        return kept.empty() ? Cut{} : Cut{kept, results_of(resampling, kept)};
    }
    const auto limit = static_cast<float>(grid_size);
    const Range in_grid =
        pixels_between(std::min(std::max(low, 0.0f), limit), std::min(std::max(high, 0.0f), limit), grid_size);
    return Cut{all, both(Range{in_grid.first - offset, in_grid.end - offset}, Range{0, resampling.size})};
}

/// Box edges on the way that the grid says; float32, as the peers compute it.
float moved(float edge, double before, double scale, double offset) {
    return (edge - static_cast<float>(before)) / static_cast<float>(scale) + static_cast<float>(offset);
}

/// Source pixels that a range of results is made of.
Range sources_of(const Resampling& resampling, const Range& results) {
    return Range{resampling.first[static_cast<std::size_t>(results.first)],
                 resampling.first[static_cast<std::size_t>(results.end - 1)] + resampling.taps};
}

/// Values of the window at prototype pixels, [rows.size(), columns.size()].
void mix_window(const MaskPlan& plan, const float* coefficients, const Cut& horizontal, const Cut& vertical,
                const Range& columns, const Range& rows, MaskMemory* memory) {
    const float outside = plan.grid.cut_probabilities ? -0.5f : 0.0f;
    memory->values.assign(static_cast<std::size_t>(rows.size() * columns.size()), outside);
    const Range inner_columns = both(columns, horizontal.prototypes);
    const Range inner_rows = both(rows, vertical.prototypes);
    if (inner_columns.empty()) return;
    for (std::int64_t row = inner_rows.first; row < inner_rows.end; ++row) {
        float* out = memory->values.data() + (row - rows.first) * columns.size() + inner_columns.first - columns.first;
        plan.kernels.mix_prototypes(plan.prototypes, coefficients,
                                    row * plan.grid.prototype_width + inner_columns.first, inner_columns.size(), out);
        if (plan.grid.cut_probabilities) plan.kernels.centre_probabilities(out, inner_columns.size());
    }
}

}  // namespace

void draw_mask(const MaskPlan& plan, const float* box, const float* coefficients, MaskMemory* memory, BitMask* mask) {
    const MaskGrid& grid = plan.grid;
    const Cut horizontal = cut_axis(moved(box[0], grid.box_left, grid.box_scale_x, grid.box_offset_x),
                                    moved(box[2], grid.box_left, grid.box_scale_x, grid.box_offset_x),
                                    grid.cut_probabilities, grid.prototype_width, grid.width, grid.left, plan.columns);
    const Cut vertical = cut_axis(moved(box[1], grid.box_top, grid.box_scale_y, grid.box_offset_y),
                                  moved(box[3], grid.box_top, grid.box_scale_y, grid.box_offset_y),
                                  grid.cut_probabilities, grid.prototype_height, grid.height, grid.top, plan.rows);
    if (horizontal.resized.empty() || vertical.resized.empty()) {
        mask->reset(grid.left, grid.top, 0, 0);
        return;
    }
    const Range& width = horizontal.resized;
    const Range& height = vertical.resized;
    const Range columns = sources_of(plan.columns, width);
    const Range rows = sources_of(plan.rows, height);
    mix_window(plan, coefficients, horizontal, vertical, columns, rows, memory);

    const std::int64_t words = (width.size() + BitMask::kBits - 1) / BitMask::kBits;
    const std::int64_t pitch = words * BitMask::kBits;
    // Grown and never filled: every row is written below. Zeros for each mask anew took a fifth of all its time.
    const auto wide_size = static_cast<std::size_t>(rows.size() * pitch + kMostLanes);
    if (memory->wide.size() < wide_size) memory->wide.resize(wide_size);
    const auto sign_words = static_cast<std::size_t>(rows.size() * words);
    if (memory->signs.size() < sign_words) memory->signs.resize(sign_words);
    const RowResampling along_rows{plan.columns.first.data() + width.first,
                                   plan.columns.run_ends.data() + width.first,
                                   width.first,
                                   plan.columns.weights.data() + width.first,
                                   plan.columns.weight_step,
                                   plan.columns.taps,
                                   static_cast<std::int32_t>(columns.first),
                                   width.size()};
    for (std::int64_t row = 0; row < rows.size(); ++row) {
        float* wide = memory->wide.data() + row * pitch;
        plan.kernels.resample_row(memory->values.data() + row * columns.size(), along_rows, wide);
        std::fill(wide + width.size(), wide + pitch, 0.0f);  // what is left of the last word is outside
        plan.kernels.sign_words(wide, words, memory->signs.data() + row * words);
    }

    mask->reset(grid.left + width.first, grid.top + height.first, width.size(), height.size());
    const auto taps = static_cast<std::size_t>(plan.rows.taps);
    memory->tap_rows.resize(taps);
    memory->tap_signs.resize(taps);
    // Rows of the mask between the same rows of values are made together.
    for (std::int64_t y = 0; y < height.size();) {
        const auto result = static_cast<std::size_t>(height.first + y);
        const std::int64_t first_row = plan.rows.first[result] - rows.first;
        for (std::size_t tap = 0; tap < taps; ++tap) {
            const std::int64_t row = first_row + static_cast<std::int64_t>(tap);
            memory->tap_rows[tap] = memory->wide.data() + row * pitch;
            memory->tap_signs[tap] = memory->signs.data() + row * words;
        }
        const std::int64_t end = std::min<std::int64_t>(plan.rows.run_ends[result] - height.first, height.size());
        const RowBlend blend{memory->tap_rows.data(),
                             memory->tap_signs.data(),
                             plan.rows.weights.data() + result,
                             plan.rows.weight_step,
                             plan.rows.taps,
                             words,
                             end - y};
        plan.kernels.blend_rows(blend, mask->row_words(), mask->row(y));
        y = end;
    }
}

}  // namespace rfkernels
