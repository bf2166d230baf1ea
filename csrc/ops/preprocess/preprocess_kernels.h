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

/// One image onto one canvas. Pointers to scratch memory are 64-byte aligned.
struct DrawPlan {
    // Source: the crop's first pixel. `column_offsets` are bytes from it, `column_weights` hold the weight of the pixel
    // at the offset in the low half and that of the pixel to its right in the high half.
    const std::uint8_t* source;
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

#define RFK_DECLARE_VARIANT(variant)       \
    namespace variant {                    \
    void draw_image(const DrawPlan& plan); \
    }

RFK_DECLARE_VARIANT(baseline)
#if defined(RFK_X86_VARIANTS)
RFK_DECLARE_VARIANT(avx2)
RFK_DECLARE_VARIANT(avx512)
#endif
#undef RFK_DECLARE_VARIANT

}  // namespace rfkernels
