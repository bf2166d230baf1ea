#pragma once

// What the kernel of preprocess.cu reads: plain data, which describe_preprocess writes on the host and the caller
// copies to the device. First DevicePreprocessParams, then a DeviceImage for each image, then the tables of weights.

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

struct alignas(16) DevicePreprocessParams {
    ChannelNormalization normalization[3];
    std::int32_t source_channel[3];  ///< of each destination channel
    std::int32_t exact_division;
    std::int32_t divides;
    std::int32_t keep_padding;
    std::int32_t pad_value;
};

/// Of one axis of an antialiased image: its visible resized pixels' windows of source pixels. Offsets are bytes from
/// the descriptors' first; weights [taps][pixels], so that neighbours lie side by side.
struct DeviceWindows {
    std::uint32_t firsts = 0;   ///< int32 [pixels], source pixels
    std::uint32_t counts = 0;   ///< int32 [pixels]
    std::uint32_t weights = 0;  ///< int32 [taps][pixels]
    std::int32_t taps = 0;
};

struct alignas(16) DeviceImage {
    const std::uint8_t* row_0;  ///< of the crop, from the image's left edge; of an NV12 image, the luma
    std::int64_t row_pitch;
    const std::uint8_t* chroma_0;  ///< the row that goes with row_0; null of packed pixels
    std::int64_t chroma_pitch;
    std::int32_t row_bytes;    ///< that an image's row has, of chroma as of luma: no byte outside them is read
    std::int32_t crop_start;   ///< bytes from the image's left edge to the crop's
    std::int32_t pixel_bytes;  ///< from a pixel of row_0 to the next: channels, or 1 of luma
    std::int32_t is_grey;
    std::int32_t odd_top;  ///< 1 where row_0 is the second of the two rows that share chroma_0
    std::int32_t crop_width;
    std::int32_t crop_height;
    // On the canvas: where the resized image's first pixel lies, which may be outside, and what of it shows.
    std::int32_t left;
    std::int32_t top;
    std::int32_t column_begin;
    std::int32_t column_end;
    std::int32_t row_begin;
    std::int32_t row_end;
    double column_step;  ///< bilinear: source pixels for each resized one
    double row_step;
    DeviceWindows column_windows;
    DeviceWindows row_windows;
};

/// Where and how the kernel writes; fixed in a captured graph.
struct DeviceCanvas {
    void* data;
    std::int64_t image_stride;  ///< bytes
    std::int64_t plane_stride;
    std::int64_t row_stride;
    std::int32_t image_count;
    std::int32_t height;
    std::int32_t width;
};

#define RFK_DECLARE_LAUNCH(device)                                                                                   \
    namespace device {                                                                                               \
    bool launch_preprocess(const void* descriptors, const DeviceCanvas& canvas, DataType dtype, bool is_antialiased, \
                           Stream stream);                                                                           \
    }
RFK_DECLARE_LAUNCH(cuda)
RFK_DECLARE_LAUNCH(emulated)
#undef RFK_DECLARE_LAUNCH

}  // namespace rfkernels
