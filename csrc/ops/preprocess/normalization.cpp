#include "ops/preprocess/normalization.h"

#include <cmath>

namespace rfkernels {
namespace {

/// Writes `value / divisor` as two products (see ChannelNormalization). False where that is not exact for every byte.
bool split_quotient(float divisor, float* first, float* second) {
    int exponent = 0;
    const double inverse = 1.0 / static_cast<double>(divisor);
    const double fraction = std::frexp(inverse, &exponent);
    const double high = std::ldexp(std::nearbyint(std::ldexp(fraction, 16)), exponent - 16);
    *first = static_cast<float>(high);
    *second = static_cast<float>(inverse - high);
    for (int byte = 0; byte < 256; ++byte) {
        const float value = static_cast<float>(byte);
        const float quotient = value / divisor;
        const float products = value * *first + value * *second;
        if (products != quotient || std::signbit(products) != std::signbit(quotient)) return false;
    }
    return true;
}

}  // namespace

void plan_normalization(const PreprocessParams& params, ChannelNormalization* normalization, bool* exact_division,
                        bool* divides) {
    *exact_division = false;
    *divides = false;
    ChannelNormalization quotient;
    if (params.normalization == Normalization::kDivide &&
        !split_quotient(params.divisor, &quotient.first, &quotient.second)) {
        *exact_division = true;
        quotient.first = params.divisor;
    }
    for (int channel = 0; channel < 3; ++channel) {
        ChannelNormalization& result = normalization[channel];
        result = quotient;
        if (params.normalization == Normalization::kDivide) {
            result.offset = -params.mean[channel];
            result.divisor = params.deviation[channel];
            *divides = *divides || result.divisor != 1.0F;
        } else if (params.normalization == Normalization::kMultiplyAdd) {
            result.first = params.scale[channel];
            result.offset = params.offset[channel];
        }
    }
}

Visible visible(std::int64_t start, std::int64_t size, std::int64_t canvas_size) {
    const std::int64_t begin = std::max<std::int64_t>(0, -start);
    return Visible{begin, std::max(begin, std::min(size, canvas_size - start))};
}

}  // namespace rfkernels
