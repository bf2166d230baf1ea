#pragma once

// What the functions of this op ask of their arguments.

#include <cstdint>
#include <string>

#include "rfkernels/image.h"
#include "rfkernels/preprocess.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

constexpr std::int64_t kMaxSide = std::int64_t{1} << 24;  // above it float32 does not hold every coordinate

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 60;  // bytes from the first to the last of anything

/// "[height, width, channels]".
std::string shape_of(const ImageView& image);

std::int64_t element_size(DataType dtype);

/// Pointers, 1, 3 or 4 channels, sides of 1 to 2^24, rows that do not overlap; of NV12 even sides.
Status check_image(const ImageView& image, const std::string& name);

/// The same for functions that do not take NV12.
Status check_packed_image(const ImageView& image, const std::string& name);

/// A crop inside the image, a resized size and a place on the canvas that arithmetic can hold.
Status check_placement(const Placement& placement, const ImageView& image, const std::string& name);

/// uint8, float16, bfloat16 or float32 [count, 3, height, width] with contiguous columns.
Status check_destination(const TensorView& destination, std::int64_t count);

/// Finite numbers, no division by 0, no normalization of bytes.
Status check_params(const PreprocessParams& params, DataType dtype);

/// A C-contiguous uint8 [height, width, 3] of the image's size that does not share memory with it.
Status check_image_destination(const TensorView& destination, const ImageView& image);

/// Whether any byte between the first and the last of one lies between those of the other, plane by plane.
bool overlap(const ImageView& image, const TensorView& destination);

}  // namespace rfkernels
