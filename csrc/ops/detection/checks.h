#pragma once

// What the functions of this op ask of their params: each is sound, or the error names the one that is not.

#include <cstdint>

#include "rfkernels/detection.h"

namespace rfkernels {

/// Thresholds from 0 to 1; what is given for each class, for every class.
Status check_thresholds(const DetectionParams& params, std::int64_t class_count);

/// One image for each of the batch, with a size, and a placement that a box can be taken back from.
Status check_images(const ImageTarget* images, std::int64_t image_count, std::int64_t batch_size);

}  // namespace rfkernels
