#include "checks.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace rfkernels {

Status check_thresholds(const DetectionParams& params, std::int64_t class_count) {
    if (!(params.confidence >= 0.0f && params.confidence <= 1.0f)) {
        return Status::invalid_argument("confidence is " + std::to_string(params.confidence) +
                                        "; give a number from 0 to 1");
    }
    if (params.class_confidences != nullptr) {
        if (params.class_confidence_count != class_count) {
            return Status::invalid_argument("class_confidences has " + std::to_string(params.class_confidence_count) +
                                            " entries; give one for each of the " + std::to_string(class_count) +
                                            " classes");
        }
        for (std::int64_t i = 0; i < class_count; ++i) {
            if (!(params.class_confidences[i] >= 0.0f && params.class_confidences[i] <= 1.0f)) {
                return Status::invalid_argument("class_confidences[" + std::to_string(i) + "] is " +
                                                std::to_string(params.class_confidences[i]) +
                                                "; give a number from 0 to 1");
            }
        }
    }
    if (params.wanted_classes != nullptr && params.wanted_class_count != class_count) {
        return Status::invalid_argument("wanted_classes has " + std::to_string(params.wanted_class_count) +
                                        " entries; give one for each of the " + std::to_string(class_count) +
                                        " classes");
    }
    return Status();
}

float lowest_confidence(const DetectionParams& params) {
    if (params.class_confidences == nullptr) return params.confidence;
    return *std::min_element(params.class_confidences, params.class_confidences + params.class_confidence_count);
}

float logit_gate(float confidence) {
    const double relaxed = static_cast<double>(confidence) * (1.0 - 2e-6);
    const float gate = static_cast<float>(std::log(relaxed / (1.0 - relaxed)));  // -infinity for 0
    return gate - std::fabs(gate) * 2e-6f - 1e-12f;
}

}  // namespace rfkernels
