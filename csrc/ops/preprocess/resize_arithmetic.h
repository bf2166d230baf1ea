#pragma once

// The arithmetic of OpenCV's INTER_LINEAR on uint8 (resize.cpp: HResizeLinear, VResizeLinear with FixedPtCast<22>).
// Shared by the CPU and CUDA implementations. Functions are `static`: each instruction set keeps its own copy.

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define RFK_HOST_DEVICE __host__ __device__
#else
#define RFK_HOST_DEVICE
#endif

namespace rfkernels::resize {

constexpr int kWeightOne = 2048;  // 11 bits: the two weights of a sample add up to this

/// A sample of one axis: source[first] * first_weight + source[second] * second_weight.
/// An index of weight 0 equals the other one, so that what does not count is not read.
struct Taps {
    std::int32_t first;
    std::int32_t second;
    std::int16_t first_weight;
    std::int16_t second_weight;
};

/// Source pixels for each resized pixel, rounded as OpenCV does: through the inverse, in double.
RFK_HOST_DEVICE static inline double source_step(std::int64_t source_size, std::int64_t resized_size) {
    return 1.0 / (static_cast<double>(resized_size) / static_cast<double>(source_size));
}

RFK_HOST_DEVICE static inline Taps weighted_taps(std::int32_t first, std::int32_t second, float fraction) {
    Taps taps{first, second, static_cast<std::int16_t>(rintf((1.0F - fraction) * kWeightOne)),
              static_cast<std::int16_t>(rintf(fraction * kWeightOne))};
    if (taps.second_weight == 0) taps.second = taps.first;
    if (taps.first_weight == 0) taps.first = taps.second;
    return taps;
}

/// Taps of a resized column. Beyond the border the fraction is dropped.
RFK_HOST_DEVICE static inline Taps column_taps(std::int64_t index, double step, std::int32_t source_size) {
    float fraction = static_cast<float>((static_cast<double>(index) + 0.5) * step - 0.5);
    std::int32_t first = static_cast<std::int32_t>(floorf(fraction));
    fraction -= static_cast<float>(first);
    if (first < 0) {
        first = 0;
        fraction = 0.0F;
    }
    if (first >= source_size - 1) {
        first = source_size - 1;
        fraction = 0.0F;
    }
    return weighted_taps(first, first + 1 < source_size ? first + 1 : first, fraction);
}

/// Taps of a resized row. Beyond the border both are the border row, and the fraction stays: each product is cut to
/// whole numbers on its own, so the two together may be less than the one of weight 1.
RFK_HOST_DEVICE static inline Taps row_taps(std::int64_t index, double step, std::int32_t source_size) {
    float fraction = static_cast<float>((static_cast<double>(index) + 0.5) * step - 0.5);
    const std::int32_t first = static_cast<std::int32_t>(floorf(fraction));
    fraction -= static_cast<float>(first);
    const std::int32_t last = source_size - 1;
    const std::int32_t clamped_first = first < 0 ? 0 : (first > last ? last : first);
    const std::int32_t clamped_second = first + 1 < 0 ? 0 : (first + 1 > last ? last : first + 1);
    return weighted_taps(clamped_first, clamped_second, fraction);
}

/// The horizontal pass: at most 255 * 2048 / 16 = 32640, which is why the result fits 16 bits.
RFK_HOST_DEVICE static inline std::int16_t horizontal(int first, int second, int first_weight, int second_weight) {
    return static_cast<std::int16_t>((first * first_weight + second * second_weight) >> 4);
}

/// The vertical pass: the high halves of two 16-bit products, and rounding to a byte; never above 255.
RFK_HOST_DEVICE static inline std::uint8_t vertical(int first, int second, int first_weight, int second_weight) {
    return static_cast<std::uint8_t>((((first * first_weight) >> 16) + ((second * second_weight) >> 16) + 2) >> 2);
}

}  // namespace rfkernels::resize
