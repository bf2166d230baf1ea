#pragma once

// What the functions of this op ask of their params: each is sound, or the error names the one that is not.

#include <cstdint>

#include "rfkernels/detection.h"

namespace rfkernels {

/// Thresholds from 0 to 1; what is given for each class, for every class.
Status check_thresholds(const DetectionParams& params, std::int64_t class_count);

}  // namespace rfkernels
