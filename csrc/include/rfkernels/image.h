#pragma once

#include <cstdint>

namespace rfkernels {

/// uint8 [height, width, channels] of the caller's, rows `row_pitch` bytes apart. Owns nothing.
struct ImageView {
    const std::uint8_t* data = nullptr;
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 3;            ///< 1 grey, 3 colour, 4 colour and an alpha that is ignored
    std::int64_t row_pitch = 0;  ///< bytes from a pixel to the one below it; at least width * channels
};

/// Half-open rectangle of pixels, [x, x + width) x [y, y + height).
struct Rectangle {
    std::int64_t x = 0;
    std::int64_t y = 0;
    std::int64_t width = 0;
    std::int64_t height = 0;
};

}  // namespace rfkernels
