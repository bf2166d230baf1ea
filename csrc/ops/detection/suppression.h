#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "rfkernels/detection.h"

namespace rfkernels {

/// Params that make sense, or an error that names the one that does not.
Status check(const SuppressionParams& params);

/// A float quotient is greater than the double threshold exactly when it is greater than this float.
float greatest_float_not_above(double threshold);

/// `nms` on boxes known to hold no NaN, with checked params. May throw std::bad_alloc.
Kept suppress(const DetectionKernels& kernels, const float* boxes, const float* scores, const std::int32_t* class_ids,
              std::int64_t count, const SuppressionParams& params);

}  // namespace rfkernels
