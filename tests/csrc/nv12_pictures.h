#pragma once

// Pictures of noise for the tests of NV12: the planes, each in a heap block of exactly its size, and the BGR picture
// that they stand for, made here from the formula of rfkernels/image.h.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "rfkernels/image.h"

struct Plane {
    std::unique_ptr<std::uint8_t[]> bytes;
    std::int64_t rows;
    std::int64_t row_bytes;
    std::int64_t pitch;

    /// The last row has no padding behind it.
    Plane(std::int64_t row_count, std::int64_t bytes_of_a_row, std::int64_t padding, std::mt19937& random)
        : rows(row_count), row_bytes(bytes_of_a_row), pitch(bytes_of_a_row + padding) {
        bytes.reset(new std::uint8_t[size()]);
        for (std::size_t i = 0; i < size(); ++i) bytes[i] = static_cast<std::uint8_t>(random());
    }
    std::size_t size() const { return static_cast<std::size_t>((rows - 1) * pitch + row_bytes); }
};

inline rfkernels::ImageView nv12_view(const std::uint8_t* luma, std::int64_t height, std::int64_t width,
                                      std::int64_t luma_pitch, const std::uint8_t* chroma, std::int64_t chroma_pitch) {
    rfkernels::ImageView view;
    view.data = luma;
    view.height = height;
    view.width = width;
    view.row_pitch = luma_pitch;
    view.format = rfkernels::PixelFormat::kNv12;
    view.chroma = chroma;
    view.chroma_pitch = chroma_pitch;
    return view;
}

struct Nv12Picture {
    Plane luma;
    Plane chroma;

    Nv12Picture(std::int64_t height, std::int64_t width, std::int64_t luma_padding, std::int64_t chroma_padding,
                std::mt19937& random)
        : luma(height, width, luma_padding, random), chroma(height / 2, width, chroma_padding, random) {}

    rfkernels::ImageView view() const {
        return nv12_view(luma.bytes.get(), luma.rows, luma.row_bytes, luma.pitch, chroma.bytes.get(), chroma.pitch);
    }

    /// uint8 [height, width, 3].
    std::vector<std::uint8_t> bgr() const {
        std::vector<std::uint8_t> result;
        result.reserve(static_cast<std::size_t>(luma.rows * luma.row_bytes * 3));
        for (std::int64_t row = 0; row < luma.rows; ++row) {
            for (std::int64_t column = 0; column < luma.row_bytes; ++column) {
                const std::int64_t value = luma.bytes[row * luma.pitch + column];
                const std::uint8_t* pair = chroma.bytes.get() + row / 2 * chroma.pitch + column / 2 * 2;
                const std::int64_t u = pair[0] - 128;
                const std::int64_t v = pair[1] - 128;
                const std::int64_t y = 1220542 * std::max<std::int64_t>(value - 16, 0) + (1 << 19);
                for (const std::int64_t sum : {y + 2116026 * u, y - 409993 * u - 852492 * v, y + 1673527 * v}) {
                    result.push_back(static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> 20, 0, 255)));
                }
            }
        }
        return result;
    }
};

/// The same pixels, packed.
inline rfkernels::ImageView packed_view(const std::vector<std::uint8_t>& bgr, std::int64_t height, std::int64_t width) {
    return rfkernels::ImageView{bgr.data(), height, width, 3, width * 3};
}
