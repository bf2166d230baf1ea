#pragma once

// What preprocess.cpp plans and a variant of preprocess_kernels.cpp carries out. Plain data: nothing here may become
// code that two variants share.

#include <cstdint>

#include "rfkernels/tensor.h"

namespace rfkernels {

/// destination = ((value * first + value * second) + offset) / divisor, each step rounded to float32; or, where
/// `exact_division`, (value / first + offset) / divisor.
///
/// value / 255 is the two products: `first` holds so few bits that the first product is exact, and the sum is then the
/// quotient correctly rounded (preprocess.cpp checks that for all 256 values). It costs a third of a division.
struct ChannelNormalization {
    float first = 1.0F;
    float second = 0.0F;
    float offset = 0.0F;
    float divisor = 1.0F;
};

/// How rows of an NV12 image become the pixels that are resized, 4 bytes each: blue, green, red, 0.
struct Nv12Plan {
    // The crop's first row of luma, and the row of chroma that goes with it, both from the image's left edge.
    const std::uint8_t* luma;
    std::int64_t luma_pitch;
    const std::uint8_t* chroma;
    std::int64_t chroma_pitch;
    std::int64_t odd_top;  // 1 where the crop's first row is the second of the two that share their chroma
    // The image's columns, both numbers even, that hold all that is needed. Every one of them is converted, or, where
    // what is needed lies far apart, the `column_count` of them that are listed.
    std::int64_t first_column;
    std::int64_t end_column;
    const std::int32_t* columns;  // null where all are converted
    std::int64_t column_count;
    // Scratch: rows of pixels, `row_pitch` pixels apart, and what is listed of one row. u is chroma's lower byte.
    std::uint32_t* rows;
    std::int64_t row_pitch;
    std::uint8_t* gathered_luma;
    std::uint16_t* gathered_chroma;
};

/// One image onto one canvas. Pointers to scratch memory are 64-byte aligned.
struct DrawPlan {
    // Source: the crop's first pixel. `column_offsets` are bytes from it, `column_weights` hold the weight of the pixel
    // at the offset in the low half and that of the pixel to its right in the high half.
    // Of an NV12 image: no source, but the rows that `nv12` makes, of 4 channels; offsets are from a row's first pixel.
    const std::uint8_t* source;
    const Nv12Plan* nv12;
    std::int64_t row_pitch;
    int channels;
    const std::int32_t* column_offsets;
    const std::uint32_t* column_weights;
    std::int64_t column_count;
    std::int64_t wide_column_count;  // of these, from the left, 8 bytes may be read without leaving the image's row
    bool picks_columns;              // the weight to the right is 0 everywhere
    std::int64_t column_step;        // bytes from each column's pixel to the next one's; 0 where they differ
    // Rows: index and weight of the two source rows of each.
    const std::int32_t* row_indices;
    const std::int16_t* row_weights;
    std::int64_t row_count;
    // Scratch: two horizontally resized rows, and one finished row; planes `scratch_pitch` elements apart.
    std::int16_t* resized_rows[2];
    std::uint8_t* finished_row;
    std::int64_t scratch_pitch;
    // Destination: the canvas.
    void* destination;
    DataType dtype;
    std::int64_t plane_stride;
    std::int64_t row_stride;
    std::int64_t canvas_height;
    std::int64_t canvas_width;
    std::int64_t top;
    std::int64_t left;
    int source_channel[3];  // of each destination channel
    ChannelNormalization normalization[3];
    bool exact_division;
    bool divides;  // a divisor differs from 1
    bool keep_padding;
    std::uint8_t pad_value;
};

/// Rows that a variant resizes together, at most; a power of two, and so is what each takes.
constexpr std::int64_t kMostRowsTogether = 4;

/// What else Interpolation::kAntialiased needs of an image. Its pixels in between are 4 bytes, of which the last, and
/// of a grey image the last three, mean nothing.
struct AntialiasedPlan {
    // Columns: the byte of each one's first pixel from the crop's first, and its `column_pairs` pairs of weights. A
    // pair is four numbers: the lower 15 bits of both weights, then the bits above them. What is beyond the last weight
    // is 0, and there may be no pixel for it.
    const std::int32_t* column_offsets;
    const std::int16_t* column_weights;
    std::int64_t column_pairs;
    std::int64_t wide_column_count;  // of these, from the left, 16 bytes may be read for every two pairs
    // Rows: each one's first source row and the number of them; weights `row_taps` apart.
    const std::int32_t* row_firsts;
    const std::int32_t* row_counts;
    const std::int32_t* row_weights;
    std::int64_t row_taps;
    std::int64_t rows_at_once;  // of a window of more, so many are held and added up at a time
    std::int64_t first_row;     // of all source rows that are needed
    std::int64_t last_row;
    // Scratch, each row of DrawPlan::scratch_pitch pixels: source rows with their columns resized, and sums of them.
    std::uint8_t* held_rows;
    std::int64_t held_row_count;  // a multiple of kMostRowsTogether, at least rows_at_once + kMostRowsTogether - 1
    std::int32_t* sums;
};

#define RFK_DECLARE_VARIANT(variant)                                                \
    namespace variant {                                                             \
    void draw_image(const DrawPlan& plan);                                          \
    void draw_image_antialiased(const DrawPlan& plan, const AntialiasedPlan& taps); \
    }

RFK_DECLARE_VARIANT(baseline)
#if defined(RFK_X86_VARIANTS)
RFK_DECLARE_VARIANT(avx2)
RFK_DECLARE_VARIANT(avx512)
#endif
#undef RFK_DECLARE_VARIANT

}  // namespace rfkernels
