#pragma once

#include <cstdint>

namespace rfkernels {

/// How the pixels of an image lie in memory.
enum class PixelFormat : std::uint8_t {
    kPacked,  ///< a pixel's channels side by side, in one plane
    /// What video decoders give: a plane of luma, and one of chroma that four pixels share. `preprocess` alone takes
    /// it, as the BGR picture that it stands for (BT.601, luma 16 to 235), the bytes of OpenCV's COLOR_YUV2BGR_NV12:
    ///   y = 1220542 * max(luma - 16, 0) + 2^19, u and v less 128, each result >> 20 and cut to 0..255
    ///   blue = y + 2116026 * u,  green = y - 409993 * u - 852492 * v,  red = y + 1673527 * v
    kNv12,
};

/// An image of the caller's, rows `row_pitch` bytes apart. Owns nothing.
///
/// kPacked  data uint8 [height, width, channels]
/// kNv12    data uint8 [height, width], the luma; chroma uint8 [height / 2, width / 2, 2], u before v. Both sides even
struct ImageView {
    const std::uint8_t* data = nullptr;
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 3;            ///< 1 grey, 3 colour, 4 colour and an alpha that is ignored; 3 of kNv12
    std::int64_t row_pitch = 0;  ///< bytes from a pixel to the one below it; at least what a row of `data` takes
    PixelFormat format = PixelFormat::kPacked;
    const std::uint8_t* chroma = nullptr;  ///< kNv12 alone, as is the pitch
    std::int64_t chroma_pitch = 0;         ///< bytes from a row of chroma to the next; at least width
};

/// Half-open rectangle of pixels, [x, x + width) x [y, y + height).
struct Rectangle {
    std::int64_t x = 0;
    std::int64_t y = 0;
    std::int64_t width = 0;
    std::int64_t height = 0;
};

}  // namespace rfkernels
