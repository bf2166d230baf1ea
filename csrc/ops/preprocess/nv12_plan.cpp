#include "ops/preprocess/nv12_plan.h"

#include <algorithm>

#include "ops/preprocess/antialiased_plan.h"

namespace rfkernels {
namespace {

/// Pixels are picked one by one where all of them would be more than so many for each that is needed: a pixel that is
/// picked costs about as much as six that lie side by side.
constexpr std::int64_t kMostPixelsForOne = 6;

/// Beyond a row's last pixel, for vectors that are read from it on and whose other pixels have no weight.
constexpr std::int64_t kSpareBilinear = 4;
std::int64_t spare_antialiased(const Placement& placement) {
    return most_antialiased_taps(placement.crop.width, placement.resized_width) + 4;
}

/// Of a bilinear row, but for what makes pairs: two are needed for each column at most.
std::int64_t most_pixels(std::int64_t columns) {
    return 2 * kMostPixelsForOne * columns;
}

/// The columns of the crop [first, end), and what is rounded to pairs.
Nv12Plan plan_of(const ImageView& image, const Placement& placement, std::int64_t first, std::int64_t end) {
    Nv12Plan plan{};
    const Rectangle& crop = placement.crop;
    plan.luma = image.data + crop.y * image.row_pitch;
    plan.luma_pitch = image.row_pitch;
    plan.chroma = image.chroma + crop.y / 2 * image.chroma_pitch;
    plan.chroma_pitch = image.chroma_pitch;
    plan.odd_top = crop.y % 2;
    plan.first_column = (crop.x + first) / 2 * 2;
    plan.end_column = (crop.x + end + 1) / 2 * 2;
    return plan;
}

/// Offsets from the crop's first pixel to those from the first that is converted.
const std::int32_t* moved(const std::int32_t* offsets, std::int64_t count, std::int64_t pixels, Scratch* scratch) {
    std::int32_t* result = scratch->take<std::int32_t>(count);
    const std::int32_t bytes = static_cast<std::int32_t>(kNv12PixelBytes * pixels);
    for (std::int64_t i = 0; i < count; ++i) result[i] = offsets[i] + bytes;
    return result;
}

/// Lists the pixels that columns need, `for_each` of one, in their order. The second of two lies inside the crop:
/// columns so far apart have half their distance from the last one to the crop's end.
void list_pixels(const Placement& placement, std::int64_t for_each, Scratch* scratch, DrawPlan* plan, Nv12Plan* nv12) {
    nv12->column_count = for_each * plan->column_count;
    std::int32_t* columns = scratch->take<std::int32_t>(nv12->column_count);
    std::int32_t* offsets = scratch->take<std::int32_t>(plan->column_count);
    for (std::int64_t i = 0; i < plan->column_count; ++i) {
        const std::int64_t column = placement.crop.x + plan->column_offsets[i] / kNv12PixelBytes;
        for (std::int64_t tap = 0; tap < for_each; ++tap) {
            columns[for_each * i + tap] = static_cast<std::int32_t>(column + tap);
        }
        offsets[i] = static_cast<std::int32_t>(kNv12PixelBytes * for_each * i);
    }
    plan->column_offsets = offsets;
    plan->column_step = kNv12PixelBytes * for_each;
    nv12->columns = columns;
    nv12->gathered_luma = scratch->take<std::uint8_t>(nv12->column_count);
    nv12->gathered_chroma = scratch->take<std::uint16_t>(nv12->column_count);
}

}  // namespace

std::int64_t nv12_scratch_bytes(const Placement& placement, Interpolation interpolation, std::int64_t columns) {
    const std::int64_t all_pixels = placement.crop.width + 2;
    if (interpolation == Interpolation::kAntialiased) {
        const std::int64_t row_pixels = all_pixels + spare_antialiased(placement);
        return Scratch::padded(4 * columns) + kMostRowsTogether * Scratch::padded(kNv12PixelBytes * row_pixels);
    }
    return Scratch::padded(4 * columns) + Scratch::padded(4 * 2 * columns) + Scratch::padded(2 * columns) +
           Scratch::padded(2 * 2 * columns) +
           Scratch::padded(kNv12PixelBytes * (most_pixels(columns) + 2 + kSpareBilinear));
}

Nv12Plan plan_nv12_bilinear(const ImageView& image, const Placement& placement, Scratch* scratch, DrawPlan* plan) {
    // Taps do not go back from one column to the next.
    const std::int64_t count = plan->column_count;
    const std::int64_t first = count == 0 ? 0 : plan->column_offsets[0] / kNv12PixelBytes;
    const std::int64_t last = count == 0 ? 0 : plan->column_offsets[count - 1] / kNv12PixelBytes;
    const std::int64_t end = count == 0 ? 0 : std::min(placement.crop.width, last + (plan->picks_columns ? 1 : 2));
    Nv12Plan result = plan_of(image, placement, first, end);
    const std::int64_t for_each = plan->picks_columns ? 1 : 2;
    if (end - first > kMostPixelsForOne * for_each * count) {
        list_pixels(placement, for_each, scratch, plan, &result);
        result.row_pitch = result.column_count;
    } else {
        plan->column_offsets = moved(plan->column_offsets, count, placement.crop.x - result.first_column, scratch);
        result.row_pitch = result.end_column - result.first_column;
    }
    result.rows = scratch->take<std::uint32_t>(result.row_pitch + kSpareBilinear);
    return result;
}

Nv12Plan plan_nv12_antialiased(const ImageView& image, const Placement& placement, std::int64_t column_count,
                               Scratch* scratch, AntialiasedPlan* taps) {
    std::int64_t first = column_count == 0 ? 0 : placement.crop.width;
    std::int64_t end = 0;
    for (std::int64_t column = 0; column < column_count; ++column) {
        const std::int64_t pixel = taps->column_offsets[column] / kNv12PixelBytes;
        first = std::min(first, pixel);
        end = std::max(end, std::min(placement.crop.width, pixel + 2 * taps->column_pairs));
    }
    Nv12Plan result = plan_of(image, placement, first, end);
    taps->column_offsets = moved(taps->column_offsets, column_count, placement.crop.x - result.first_column, scratch);
    // Whole cache lines: rows that are made together are each aligned.
    result.row_pitch =
        Scratch::padded(kNv12PixelBytes * (result.end_column - result.first_column + spare_antialiased(placement))) /
        kNv12PixelBytes;
    result.rows = scratch->take<std::uint32_t>(kMostRowsTogether * result.row_pitch);
    return result;
}

}  // namespace rfkernels
