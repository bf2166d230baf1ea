#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace rfkernels {

/// A window of a mask, one bit a pixel, with a frame of zeros around it: at least one row above and below, one word to
/// the left, one bit to the right. Pixel (x, y) of the window is pixel (left + x, top + y) of the grid.
class BitMask {
  public:
    static constexpr std::int64_t kBits = 64;

    /// Makes room for a window; all bits are zero. Memory is kept from one mask to the next.
    void reset(std::int64_t left, std::int64_t top, std::int64_t width, std::int64_t height) {
        left_ = left;
        top_ = top;
        width_ = width;
        height_ = height;
        row_words_ = width / kBits + 2;
        // One word more: whoever looks at a bit reads two bytes.
        words_.assign(static_cast<std::size_t>((height + 2) * row_words_ + 1), 0);
    }

    std::int64_t left() const { return left_; }
    std::int64_t top() const { return top_; }
    std::int64_t width() const { return width_; }
    std::int64_t height() const { return height_; }
    /// Words of a row that hold pixels, the last of them perhaps not filled.
    std::int64_t pixel_words() const { return (width_ + kBits - 1) / kBits; }

    /// From a row to the next.
    std::int64_t row_words() const { return row_words_; }

    /// Bit x % 64 of word x / 64 is pixel x. y from -1 to height.
    std::uint64_t* row(std::int64_t y) { return words_.data() + (y + 1) * row_words_ + 1; }
    const std::uint64_t* row(std::int64_t y) const { return words_.data() + (y + 1) * row_words_ + 1; }

    bool at(std::int64_t x, std::int64_t y) const { return (row(y)[x / kBits] >> (x % kBits) & 1U) != 0; }

    /// The pixel's number among all bits, and from a pixel to that below. The same in windows of the same size.
    std::int64_t place(std::int64_t x, std::int64_t y) const { return ((y + 1) * row_words_ + 1) * kBits + x; }
    std::int64_t row_bits() const { return row_words_ * kBits; }

    /// The pixel at a place and those to its left and right: the left one as bit 0.
    unsigned three(std::int64_t place) const {
        std::uint16_t bits;
        std::memcpy(&bits, bytes() + (place - 1) / 8, sizeof(bits));
        return static_cast<unsigned>(bits) >> ((place - 1) % 8) & 7U;
    }
    /// Sets the bit at a place if `value` is 1, and does nothing if it is 0.
    void set(std::int64_t place, unsigned value) {
        auto* byte = reinterpret_cast<unsigned char*>(words_.data()) + place / 8;
        *byte = static_cast<unsigned char>(*byte | value << (place % 8));
    }

    std::int64_t count_set() const {
        std::int64_t count = 0;
        for (const std::uint64_t word : words_) count += __builtin_popcountll(word);
        return count;
    }

  private:
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bits of words are looked at as bits of bytes");
    const unsigned char* bytes() const { return reinterpret_cast<const unsigned char*>(words_.data()); }

    std::int64_t left_ = 0;
    std::int64_t top_ = 0;
    std::int64_t width_ = 0;
    std::int64_t height_ = 0;
    std::int64_t row_words_ = 2;
    std::vector<std::uint64_t> words_;
};

}  // namespace rfkernels
