#include "rfkernels/preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "device/guarded.h"
#include "ops/preprocess/antialiased_plan.h"
#include "ops/preprocess/checks.h"
#include "ops/preprocess/normalization.h"
#include "ops/preprocess/nv12_plan.h"
#include "ops/preprocess/preprocess_kernels.h"
#include "ops/preprocess/resize_arithmetic.h"
#include "ops/preprocess/scratch.h"
#include "rfkernels/instruction_set.h"

namespace rfkernels {
namespace {

std::int64_t bilinear_scratch_bytes(std::int64_t columns, std::int64_t rows) {
    const std::int64_t pitch = Scratch::padded(columns);
    return 2 * Scratch::padded(4 * columns) + Scratch::padded(8 * rows) + Scratch::padded(4 * rows) +
           2 * Scratch::padded(3 * pitch * 2) + Scratch::padded(3 * pitch);
}

/// Bytes of a row from the crop's first pixel on. A converted row of NV12 has room behind it for whatever is read.
std::int64_t readable_bytes(const ImageView& image, const Placement& placement) {
    if (image.format == PixelFormat::kNv12) return kMaxExtent;
    return (image.width - placement.crop.x) * image.channels;
}

void plan_columns(const ImageView& image, const Placement& placement, const Visible& columns, std::int32_t* offsets,
                  std::uint32_t* weights, DrawPlan* plan) {
    const double step = resize::source_step(placement.crop.width, placement.resized_width);
    const std::int64_t row_bytes = readable_bytes(image, placement);
    plan->wide_column_count = 0;
    plan->picks_columns = true;
    plan->column_step = 0;
    for (std::int64_t column = 0; column < plan->column_count; ++column) {
        const resize::Taps taps =
            resize::column_taps(columns.begin + column, step, static_cast<std::int32_t>(placement.crop.width));
        offsets[column] = taps.first * plan->channels;
        const std::uint32_t first_weight = static_cast<std::uint32_t>(taps.first_weight);
        const std::uint32_t second_weight = static_cast<std::uint32_t>(taps.second_weight);
        weights[column] =
            taps.first == taps.second ? first_weight + second_weight : first_weight | (second_weight << 16U);
        plan->picks_columns = plan->picks_columns && (weights[column] >> 16U) == 0;
        if (offsets[column] + 8 <= row_bytes) plan->wide_column_count = column + 1;
        if (column == 1) plan->column_step = offsets[1] - offsets[0];
        if (column > 1 && offsets[column] - offsets[column - 1] != plan->column_step) plan->column_step = 0;
    }
    plan->column_offsets = offsets;
    plan->column_weights = weights;
}

void plan_rows(const Placement& placement, const Visible& rows, std::int32_t* indices, std::int16_t* weights,
               DrawPlan* plan) {
    const double step = resize::source_step(placement.crop.height, placement.resized_height);
    for (std::int64_t row = 0; row < plan->row_count; ++row) {
        const resize::Taps taps =
            resize::row_taps(rows.begin + row, step, static_cast<std::int32_t>(placement.crop.height));
        indices[2 * row] = taps.first;
        indices[2 * row + 1] = taps.second;
        weights[2 * row] = taps.first_weight;
        weights[2 * row + 1] = taps.second_weight;
    }
    plan->row_indices = indices;
    plan->row_weights = weights;
}

void plan_bilinear(const ImageView& image, const Placement& placement, const Visible& columns, const Visible& rows,
                   Scratch* scratch, DrawPlan* plan) {
    std::int32_t* column_offsets = scratch->take<std::int32_t>(plan->column_count);
    std::uint32_t* column_weights = scratch->take<std::uint32_t>(plan->column_count);
    plan_columns(image, placement, columns, column_offsets, column_weights, plan);
    std::int32_t* row_indices = scratch->take<std::int32_t>(2 * plan->row_count);
    std::int16_t* row_weights = scratch->take<std::int16_t>(2 * plan->row_count);
    plan_rows(placement, rows, row_indices, row_weights, plan);
    for (std::int16_t*& row : plan->resized_rows) row = scratch->take<std::int16_t>(3 * plan->scratch_pitch);
}

std::int64_t scratch_bytes(const ImageView& image, Interpolation interpolation, const Placement& placement,
                           std::int64_t canvas_height, std::int64_t canvas_width) {
    const std::int64_t columns = std::min(placement.resized_width, canvas_width);
    const std::int64_t rows = std::min(placement.resized_height, canvas_height);
    const std::int64_t converted =
        image.format == PixelFormat::kNv12 ? nv12_scratch_bytes(placement, interpolation, columns) : 0;
    if (interpolation == Interpolation::kAntialiased) {
        return converted + antialiased_scratch_bytes(placement, columns, rows);
    }
    return converted + bilinear_scratch_bytes(columns, rows);
}

/// What a variant of the kernels offers.
struct Variant {
    void (*draw_image)(const DrawPlan&);
    void (*draw_image_antialiased)(const DrawPlan&, const AntialiasedPlan&);
};

Variant variant_of(InstructionSet instruction_set) {
#if defined(RFK_X86_VARIANTS)
    if (instruction_set == InstructionSet::kAvx512) return {avx512::draw_image, avx512::draw_image_antialiased};
    if (instruction_set == InstructionSet::kAvx2) return {avx2::draw_image, avx2::draw_image_antialiased};
#endif
    static_cast<void>(instruction_set);
    return {baseline::draw_image, baseline::draw_image_antialiased};
}

/// Draws one image by a plan that has the canvas and the normalization.
void draw(const ImageView& image, const Placement& placement, Interpolation interpolation, const Variant& variant,
          Scratch* scratch, DrawPlan* plan) {
    const Visible columns = visible(placement.left, placement.resized_width, plan->canvas_width);
    Visible rows = visible(placement.top, placement.resized_height, plan->canvas_height);
    if (columns.begin == columns.end) rows.end = rows.begin;
    plan->column_count = columns.end - columns.begin;
    plan->row_count = rows.end - rows.begin;
    const bool is_nv12 = image.format == PixelFormat::kNv12;
    plan->source =
        is_nv12 ? nullptr : image.data + placement.crop.y * image.row_pitch + placement.crop.x * image.channels;
    plan->row_pitch = image.row_pitch;
    plan->channels = is_nv12 ? kNv12PixelBytes : image.channels;
    plan->nv12 = nullptr;
    Nv12Plan nv12;
    // Where nothing of the image shows, all rows lie "below" it and are padded.
    plan->top = plan->row_count == 0 ? 0 : std::max<std::int64_t>(0, placement.top);
    plan->left = std::max<std::int64_t>(0, placement.left);

    scratch->reset();
    plan->scratch_pitch = Scratch::padded(plan->column_count);
    plan->finished_row = scratch->take<std::uint8_t>(3 * plan->scratch_pitch);
    if (interpolation == Interpolation::kAntialiased) {
        AntialiasedPlan taps =
            plan_antialiased(placement, plan->channels, readable_bytes(image, placement), columns, rows, scratch);
        if (is_nv12) {
            nv12 = plan_nv12_antialiased(image, placement, plan->column_count, scratch, &taps);
            plan->nv12 = &nv12;
        }
        variant.draw_image_antialiased(*plan, taps);
    } else {
        plan_bilinear(image, placement, columns, rows, scratch, plan);
        if (is_nv12) {
            nv12 = plan_nv12_bilinear(image, placement, scratch, plan);
            plan->nv12 = &nv12;
        }
        variant.draw_image(*plan);
    }
    plan->nv12 = nullptr;
}

}  // namespace

Status preprocess(const ImageView* images, const Placement* placements, std::int64_t count,
                  const PreprocessParams& params, const TensorView& destination, Stream stream) {
    return guarded("preprocess: not enough memory for its working rows", [&]() -> Status {
        if (stream != nullptr)
            return Status::invalid_argument("stream is not null; the CPU op runs on the calling thread");
        if (count < 0) return Status::invalid_argument("count is " + std::to_string(count) + "; it cannot be negative");
        if (count > 0 && (images == nullptr || placements == nullptr)) {
            return Status::invalid_argument("images or placements is a null pointer");
        }
        Status status = check_destination(destination, count);
        if (status.ok()) status = check_params(params, destination.dtype);
        const std::int64_t canvas_height = destination.shape[2];
        const std::int64_t canvas_width = destination.shape[3];
        std::int64_t scratch_size = 0;
        for (std::int64_t n = 0; n < count && status.ok(); ++n) {
            status = check_image(images[n], "images[" + std::to_string(n) + "]");
            if (status.ok())
                status = check_placement(placements[n], images[n], "placements[" + std::to_string(n) + "]");
            if (status.ok() && overlap(images[n], destination)) {
                status = Status::invalid_argument("destination overlaps images[" + std::to_string(n) +
                                                  "]; give it memory of its own");
            }
            if (!status.ok()) break;
            scratch_size = std::max(scratch_size, scratch_bytes(images[n], params.interpolation, placements[n],
                                                                canvas_height, canvas_width));
        }
        InstructionSet instruction_set = InstructionSet::kBaseline;
        if (status.ok()) status = active_instruction_set(&instruction_set);
        if (!status.ok() || count == 0) return status;

        Scratch scratch;
        if (!scratch.allocate(scratch_size)) {
            return Status::out_of_memory("preprocess: not enough memory for its working rows");
        }
        DrawPlan plan;
        plan.dtype = destination.dtype;
        plan.plane_stride = destination.strides[1];
        plan.row_stride = destination.strides[2];
        plan.canvas_height = canvas_height;
        plan.canvas_width = canvas_width;
        plan.pad_value = params.pad_value;
        plan.keep_padding = params.keep_padding;
        plan_normalization(params, plan.normalization, &plan.exact_division, &plan.divides);
        for (int channel = 0; channel < 3; ++channel) {
            plan.source_channel[channel] = params.swap_channels ? 2 - channel : channel;
        }
        const Variant variant = variant_of(instruction_set);
        for (std::int64_t n = 0; n < count; ++n) {
            plan.destination = static_cast<unsigned char*>(destination.data) + n * destination.strides[0];
            draw(images[n], placements[n], params.interpolation, variant, &scratch, &plan);
        }
        return Status();
    });
}

}  // namespace rfkernels
