#pragma once

#include <cstdint>

#include "device/axis_back.h"
#include "rfkernels/detection.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// One image for each of the batch, with a size, and a placement that positions can be taken back from.
Status check_images(const ImageTarget* images, std::int64_t image_count, std::int64_t batch_size);

/// Of an image that is checked.
AxisBack x_axis_back(const ImageTarget& image);
AxisBack y_axis_back(const ImageTarget& image);

}  // namespace rfkernels
