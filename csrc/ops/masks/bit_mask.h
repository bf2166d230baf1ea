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
        words_.assign(static_cast<std::size_t>((height + 2) * row_words_), 0);
    }

    std::int64_t left() const { return left_; }
    std::int64_t top() const { return top_; }
    std::int64_t width() const { return width_; }
    std::int64_t height() const { return height_; }
    /// Words of a row that hold pixels, the last of them perhaps not filled.
    std::int64_t pixel_words() const { return (width_ + kBits - 1) / kBits; }

    /// Bit x % 64 of word x / 64 is pixel x. y from -1 to height.
    std::uint64_t* row(std::int64_t y) { return words_.data() + (y + 1) * row_words_ + 1; }
    const std::uint64_t* row(std::int64_t y) const { return words_.data() + (y + 1) * row_words_ + 1; }

    bool at(std::int64_t x, std::int64_t y) const { return (row(y)[x / kBits] >> (x % kBits) & 1U) != 0; }
    void set(std::int64_t x, std::int64_t y) { row(y)[x / kBits] |= std::uint64_t{1} << (x % kBits); }

    /// Pixels x - 1, x and x + 1 as bits 0, 1 and 2; x from 0.
    unsigned three(std::int64_t x, std::int64_t y) const {
        const std::uint64_t* words = row(y);
        const std::int64_t place = x + kBits - 1;  // counted from the word left of the first
        const std::uint64_t* word = words + place / kBits - 1;
        const auto shift = static_cast<unsigned>(place % kBits);
        std::uint64_t bits = word[0] >> shift;
        if (shift > kBits - 3) bits |= word[1] << (kBits - shift);
        return static_cast<unsigned>(bits & 7U);
    }

    std::int64_t count_set() const {
        std::int64_t count = 0;
        for (const std::uint64_t word : words_) count += __builtin_popcountll(word);
        return count;
    }

  private:
    std::int64_t left_ = 0;
    std::int64_t top_ = 0;
    std::int64_t width_ = 0;
    std::int64_t height_ = 0;
    std::int64_t row_words_ = 2;
    std::vector<std::uint64_t> words_;
};

}  // namespace rfkernels
