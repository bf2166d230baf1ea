#include "run_lengths.h"

#include <algorithm>

namespace rfkernels {
namespace {

/// Turns a block of 64 rows of 64 pixels over: bit x of word y becomes bit y of word x.
/// Source: Hacker's Delight, section 7-3: halves of ever smaller blocks change places.
void transpose_block(std::uint64_t* block) {
    std::uint64_t mask = 0x00000000FFFFFFFFU;
    for (unsigned size = 32; size != 0; size >>= 1U, mask ^= mask << size) {
        for (unsigned row = 0; row < 64; row = (row + size + 1) & ~size) {
            const std::uint64_t swapped = (block[row] >> size ^ block[row + size]) & mask;
            block[row] ^= swapped << size;
            block[row + size] ^= swapped;
        }
    }
}

/// The window's columns as bits down the rows: column x is `column_words` words from x * column_words on.
void transpose(const BitMask& mask, std::int64_t column_words, std::vector<std::uint64_t>* columns) {
    columns->assign(static_cast<std::size_t>(mask.pixel_words() * BitMask::kBits * column_words), 0);
    for (std::int64_t block_row = 0; block_row < column_words; ++block_row) {
        const std::int64_t first_row = block_row * BitMask::kBits;
        const std::int64_t rows = std::min(BitMask::kBits, mask.height() - first_row);
        for (std::int64_t word = 0; word < mask.pixel_words(); ++word) {
            std::uint64_t block[BitMask::kBits] = {};
            std::uint64_t any = 0;
            for (std::int64_t row = 0; row < rows; ++row) any |= block[row] = mask.row(first_row + row)[word];
            if (any == 0) continue;
            transpose_block(block);
            std::uint64_t* column = columns->data() + word * BitMask::kBits * column_words + block_row;
            for (std::int64_t x = 0; x < BitMask::kBits; ++x) column[x * column_words] = block[x];
        }
    }
}

/// Appends the places, counted down the columns of the grid, where the mask begins and ends.
void append_changes(const BitMask& mask, const std::uint64_t* columns, std::int64_t column_words,
                    std::int64_t grid_height, std::vector<std::int64_t>* changes) {
    for (std::int64_t x = 0; x < mask.width(); ++x) {
        const std::int64_t first = (mask.left() + x) * grid_height + mask.top();
        std::uint64_t before = 0;
        for (std::int64_t word = 0; word < column_words; ++word) {
            const std::uint64_t bits = columns[x * column_words + word];
            std::uint64_t turns = bits ^ (bits << 1U | before);
            before = bits >> 63U;
            for (; turns != 0; turns &= turns - 1) {
                append_change(first + word * BitMask::kBits + __builtin_ctzll(turns), changes);
            }
        }
    }
}

/// Five bits a character, the lowest first, the sixth says that more follow; counts from the fourth on are written as
/// differences to the one before the last. Source: the format of pycocotools' compressed counts.
void append_compressed(std::int64_t value, std::string* text) {
    bool more = true;
    while (more) {
        const auto digit = static_cast<unsigned>(value & 31);
        value >>= 5;
        more = (digit & 16U) != 0 ? value != -1 : value != 0;
        *text += static_cast<char>(digit + (more ? 32U : 0U) + 48U);
    }
}

}  // namespace

std::string run_lengths_of_changes(std::vector<std::int64_t>* changes, std::int64_t total) {
    if (changes->empty() || changes->back() != total) changes->push_back(total);
    std::string text;
    std::int64_t place = 0, last = 0, before_last = 0, third_last = 0;
    for (std::size_t i = 0; i < changes->size(); ++i) {
        third_last = before_last;
        before_last = last;
        last = (*changes)[i] - place;
        place = (*changes)[i];
        append_compressed(i > 2 ? last - third_last : last, &text);
    }
    return text;
}

std::string run_lengths_of(const BitMask& mask, std::int64_t grid_width, std::int64_t grid_height,
                           RunLengthMemory* memory) {
    // One row more than there are, so that a column that is inside to its end has its end in it.
    const std::int64_t column_words = mask.height() / BitMask::kBits + 1;
    transpose(mask, column_words, &memory->columns);
    std::vector<std::int64_t>& changes = memory->changes;
    changes.clear();
    append_changes(mask, memory->columns.data(), column_words, grid_height, &changes);
    return run_lengths_of_changes(&changes, grid_width * grid_height);
}

}  // namespace rfkernels
