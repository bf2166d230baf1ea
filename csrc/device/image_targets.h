#pragma once

#include <algorithm>
#include <cstdint>

#include "rfkernels/detection.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// One image for each of the batch, with a size, and a placement that positions can be taken back from.
Status check_images(const ImageTarget* images, std::int64_t image_count, std::int64_t batch_size);

/// One axis of the way from the network's input back to the image, as float32 takes it.
struct AxisBack {
    float pad = 0.0f;
    float scale = 1.0f;
    float crop = 0.0f;
    float size = 0.0f;

    /// Where a position of the network's input lies in the image, or outside it.
    float position(float network) const { return (network - pad) / scale + crop; }

    /// The place of the image nearest to a position.
    float clamped(float position) const { return std::min(std::max(position, 0.0f), size); }
};

/// Of an image that is checked.
AxisBack x_axis_back(const ImageTarget& image);
AxisBack y_axis_back(const ImageTarget& image);

}  // namespace rfkernels
