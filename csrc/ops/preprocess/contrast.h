#pragma once

#include <array>
#include <cstdint>

#include "rfkernels/image.h"

namespace rfkernels {

/// How often each byte occurs in the three channels of an image.
using ByteHistogram = std::array<std::int64_t, 256>;

/// scikit-image's equalize_adapthist(image / 255, clip_limit=0.03) * 255 into `target`, uint8 [height, width, 3]. May
/// throw std::bad_alloc.
void equalize_adaptively(const ImageView& image, std::uint8_t* target);

}  // namespace rfkernels
