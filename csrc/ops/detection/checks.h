#pragma once

// What the functions of this op ask of their params: each is sound, or the error names the one that is not. What they
// make of the thresholds.

#include <cstdint>

#include "rfkernels/detection.h"

namespace rfkernels {

/// Thresholds from 0 to 1; what is given for each class, for every class.
Status check_thresholds(const DetectionParams& params, std::int64_t class_count);

float lowest_confidence(const DetectionParams& params);

/// A logit whose sigmoid is above the confidence is above this. Lower than log(t / (1 - t)) by more than sigmoid's
/// rounding, so that the exact test, on the few that pass, decides.
float logit_gate(float confidence);

}  // namespace rfkernels
