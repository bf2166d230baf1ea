#include "mask_window.h"

#include <algorithm>

#include "mask_cut.h"

namespace rfkernels {
namespace {

AxisCut x_cut(const MaskPlan& plan) {
    const MaskGrid& grid = plan.grid;
    return AxisCut{grid.cut_probabilities,
                   grid.prototype_width,
                   grid.width,
                   grid.left,
                   plan.columns.first.data(),
                   plan.columns.size,
                   plan.columns.taps,
                   static_cast<float>(grid.box_left),
                   static_cast<float>(grid.box_scale_x),
                   static_cast<float>(grid.box_offset_x)};
}

AxisCut y_cut(const MaskPlan& plan) {
    const MaskGrid& grid = plan.grid;
    return AxisCut{grid.cut_probabilities,
                   grid.prototype_height,
                   grid.height,
                   grid.top,
                   plan.rows.first.data(),
                   plan.rows.size,
                   plan.rows.taps,
                   static_cast<float>(grid.box_top),
                   static_cast<float>(grid.box_scale_y),
                   static_cast<float>(grid.box_offset_y)};
}

/// Source pixels that a range of results is made of.
PixelRange sources_of(const Resampling& resampling, const PixelRange& results) {
    return PixelRange{resampling.first[static_cast<std::size_t>(results.first)],
                      resampling.first[static_cast<std::size_t>(results.end - 1)] + resampling.taps};
}

/// Values of the window at prototype pixels, [rows.size(), columns.size()].
void mix_window(const MaskPlan& plan, const float* coefficients, const Cut& horizontal, const Cut& vertical,
                const PixelRange& columns, const PixelRange& rows, MaskMemory* memory) {
    const float outside = plan.grid.cut_probabilities ? -0.5f : 0.0f;
    memory->values.assign(static_cast<std::size_t>(rows.size() * columns.size()), outside);
    const PixelRange inner_columns = overlap(columns, horizontal.prototypes);
    const PixelRange inner_rows = overlap(rows, vertical.prototypes);
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
    const Cut horizontal = cut_axis(x_cut(plan), box[0], box[2]);
    const Cut vertical = cut_axis(y_cut(plan), box[1], box[3]);
    if (horizontal.resized.empty() || vertical.resized.empty()) {
        mask->reset(grid.left, grid.top, 0, 0);
        return;
    }
    const PixelRange& width = horizontal.resized;
    const PixelRange& height = vertical.resized;
    const PixelRange columns = sources_of(plan.columns, width);
    const PixelRange rows = sources_of(plan.rows, height);
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
