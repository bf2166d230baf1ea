#pragma once

// Kernel code, for masks.cu alone: a strip of a mask's window, from prototypes to bits.
//
// One block draws kStripColumns columns of a window, a lane owns one of them. Values at prototype pixels are staged in
// shared memory, as many rows as fit; each lane resizes them along the row for its own column, keeps the last few in
// registers, blends them down its column and collects the bits of 32 rows in a word.

#include "device/arithmetic.h"
#include "device/kernel.h"
#include "device_masks.h"

namespace rfkernels {
namespace {

constexpr int kStagedValues = 1280;
/// Words of 32 rows that a lane keeps: 1088 rows at a time.
constexpr int kChunkWords = 34;
constexpr int kChunkRows = kChunkWords * 32;
constexpr int kPartialSums = 8;
/// Results that one row of values goes into where they have more than kMostRegisterTaps. The picture is made `scale`
/// times smaller then: a result has at most ceil(2 * scale) taps, and the next one begins floor(scale) or more rows
/// later, which makes 4 at most.
constexpr int kMostOpenRows = 8;
constexpr int kMostRegisterTaps = 3;

/// The block's shared memory.
struct StripMemory {
    float* coefficients;   ///< [kMostDeviceChannels]
    float* values;         ///< [kStagedValues]
    float* open_sums;      ///< [kMostOpenRows, kStripColumns]
    std::uint32_t* words;  ///< [kChunkWords, kStripColumns] bit y % 32 of word y / 32 of a column is its row y
};

/// What all lanes of a block know of their strip, and what each knows of its column.
struct Strip {
    const void* prototypes;  ///< of the image
    int channel_step;
    int pixel_step;
    DataType dtype;
    int channels;
    int prototype_width;
    int first_row, rows;  ///< of the window, in the resized picture
    int kept_first_column, kept_end_column, kept_first_row, kept_end_row;
    bool cut_probabilities;
    int source_first_column, source_end_column;  ///< prototype pixels that the strip's columns are made of
    const std::int32_t* row_first;
    const std::int32_t* row_run_ends;
    const float* row_weights;
    int row_taps;
    int column_taps;
    bool has_column;  ///< whether the lane owns a column of the window
    int column_first;
    const float* column_weights;  ///< [column_taps] of the lane's column
};

__device__ __forceinline__ float to_float(float value) {
    return value;
}
__device__ __forceinline__ float to_float(__half value) {
    return __half2float(value);
}
__device__ __forceinline__ float to_float(std::uint16_t bfloat16) {
    return from_bfloat16(bfloat16);
}

/// One pixel's value, in the order of summation that masks.h says.
template <typename Element>
__device__ __forceinline__ float mix(const void* prototypes, int element, int channel_step, const float* coefficients,
                                     int channels) {
    const Element* const value = static_cast<const Element*>(prototypes);
    float sums[kPartialSums] = {};
    int channel = 0;
#pragma unroll 2
    for (; channel + kPartialSums <= channels; channel += kPartialSums) {
#pragma unroll
        for (int sum = 0; sum < kPartialSums; ++sum, element += channel_step)
            sums[sum] += coefficients[channel + sum] * to_float(value[element]);
    }
#pragma unroll
    for (int sum = 0; sum < kPartialSums; ++sum, element += channel_step) {
        if (channel + sum < channels) sums[sum] += coefficients[channel + sum] * to_float(value[element]);
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// The value of one prototype pixel, centred and cut as the grid says.
__device__ __forceinline__ float value_at(const Strip& strip, const float* coefficients, int row, int column) {
    const bool is_kept = row >= strip.kept_first_row && row < strip.kept_end_row && column >= strip.kept_first_column &&
                         column < strip.kept_end_column;
    if (!is_kept) return strip.cut_probabilities ? -0.5f : 0.0f;
    const int element = (row * strip.prototype_width + column) * strip.pixel_step;
    float value;
    if (strip.dtype == DataType::kFloat16) {
        value = mix<__half>(strip.prototypes, element, strip.channel_step, coefficients, strip.channels);
    } else if (strip.dtype == DataType::kBfloat16) {
        value = mix<std::uint16_t>(strip.prototypes, element, strip.channel_step, coefficients, strip.channels);
    } else {
        value = mix<float>(strip.prototypes, element, strip.channel_step, coefficients, strip.channels);
    }
    return strip.cut_probabilities ? sigmoid(value) - 0.5f : value;
}

/// The last rows of values that a lane has resized, and the bits that it has made of them.
struct Column {
    float before_last = 0.0f;
    float second = 0.0f;
    float last = 0.0f;
    std::uint32_t word = 0;
    int next_row = 0;            ///< the first result that is not finished
    int open_end = 0;            ///< where kMostRegisterTaps are not enough: the first result that is not begun
    std::uint32_t open_all = 0;  ///< bit y % kMostOpenRows: all values of result y so far are above 0
};

/// `count` bits of rows from column.next_row on, all within one word; stores the word where it is full.
__device__ __forceinline__ void append_bits(const StripMemory& memory, std::uint32_t bits, int count, int first_row,
                                            int end_row, Column* column) {
    const int place = column->next_row - first_row;
    column->word |= bits << (place % 32);
    column->next_row += count;
    if ((place + count) % 32 != 0 && column->next_row != end_row) return;
    memory.words[place / 32 * kStripColumns + static_cast<int>(threadIdx.x)] = column->word;
    column->word = 0;
}

/// Results between the same rows of values: from column.next_row to `run_end`.
__device__ __forceinline__ void finish_run(const Strip& strip, const StripMemory& memory, int run_end, int first_row,
                                           int end_row, Column* column) {
    const int taps = strip.row_taps;
    const float value_0 = taps == 3 ? column->before_last : taps == 2 ? column->second : column->last;
    const float value_1 = taps == 3 ? column->second : column->last;
    const float value_2 = column->last;
    const bool all = value_0 > 0.0f && (taps < 2 || value_1 > 0.0f) && (taps < 3 || value_2 > 0.0f);
    // No weight is negative: where no value is above 0 no sum is.
    const bool any = value_0 > 0.0f || (taps >= 2 && value_1 > 0.0f) || (taps >= 3 && value_2 > 0.0f);
    while (column->next_row < run_end) {
        const int room = 32 - (column->next_row - first_row) % 32;
        const int count = min(room, run_end - column->next_row);
        std::uint32_t bits = all ? 0xFFFFFFFFU >> (32 - count) : 0U;
        if (any && !all) {
            const float* weights = strip.row_weights + static_cast<std::int64_t>(column->next_row) * taps;
            for (int row = 0; row < count; ++row, weights += taps) {
                float sum = weights[0] * value_0;
                if (taps >= 2) sum += weights[1] * value_1;
                if (taps >= 3) sum += weights[2] * value_2;
                bits |= (sum > 0.0f ? 1U : 0U) << row;
            }
        }
        append_bits(memory, bits, count, first_row, end_row, column);
    }
}

/// Takes in one more row of values where results have few taps: each result when its last value is there.
__device__ __forceinline__ void take_row(const Strip& strip, const StripMemory& memory, int source_row, float value,
                                         int first_row, int end_row, Column* column) {
    column->before_last = column->second;
    column->second = column->last;
    column->last = value;
    while (column->next_row < end_row && strip.row_first[column->next_row] == source_row - strip.row_taps + 1) {
        const int run_end = min(strip.row_run_ends[column->next_row], end_row);
        finish_run(strip, memory, run_end, first_row, end_row, column);
    }
}

/// The same where they have many, and no row goes into more than kMostOpenRows of them: sums that are added to.
__device__ __forceinline__ void take_row_of_many(const Strip& strip, const StripMemory& memory, int source_row,
                                                 float value, int first_row, int end_row, Column* column) {
    while (column->open_end < end_row && strip.row_first[column->open_end] <= source_row) {
        const int open = column->open_end % kMostOpenRows;
        column->open_all |= 1U << open;
        ++column->open_end;
    }
    for (int row = column->next_row; row < column->open_end; ++row) {
        const int open = row % kMostOpenRows;
        const int tap = source_row - strip.row_first[row];
        float* sum = memory.open_sums + open * kStripColumns + static_cast<int>(threadIdx.x);
        const float part = strip.row_weights[static_cast<std::int64_t>(row) * strip.row_taps + tap] * value;
        *sum = tap == 0 ? part : *sum + part;
        if (!(value > 0.0f)) column->open_all &= ~(1U << open);
    }
    while (column->next_row < column->open_end &&
           strip.row_first[column->next_row] + strip.row_taps - 1 == source_row) {
        const int open = column->next_row % kMostOpenRows;
        const float sum = memory.open_sums[open * kStripColumns + static_cast<int>(threadIdx.x)];
        const bool is_set = (column->open_all >> open & 1U) != 0 || sum > 0.0f;
        append_bits(memory, is_set ? 1U : 0U, 1, first_row, end_row, column);
    }
}

/// Rows [first_row, end_row) of the strip, at most kChunkRows of the resized picture's, to `memory.words`; columns that
/// no lane owns are zeros. Every lane of the block must call it. What is written to memory.words is complete for its
/// own lane alone when it returns, and whoever reads those words of others must be done when it is called.
__device__ __forceinline__ void draw_rows(const Strip& strip, const StripMemory& memory, int first_row, int end_row) {
    const int lane = static_cast<int>(threadIdx.x);
    const int source_first_row = strip.row_first[first_row];
    const int source_end_row = strip.row_first[end_row - 1] + strip.row_taps;
    const int source_columns = strip.source_end_column - strip.source_first_column;
    // All columns and as many rows as there is room for; or of one row as many columns.
    const int staged_columns = min(source_columns, kStagedValues);
    const int staged_rows = kStagedValues / staged_columns;
    Column column;
    column.next_row = first_row;
    column.open_end = first_row;
    for (int base_row = source_first_row; base_row < source_end_row; base_row += staged_rows) {
        const int rows = min(staged_rows, source_end_row - base_row);
        float sum = 0.0f;
        for (int base_column = strip.source_first_column; base_column < strip.source_end_column;
             base_column += staged_columns) {
            const int columns = min(staged_columns, strip.source_end_column - base_column);
            __syncthreads();  // what was staged before, and others' words, have been read; coefficients are there
            for (int i = lane; i < rows * columns; i += kStripColumns) {
                const int row = i / columns;
                memory.values[i] =
                    value_at(strip, memory.coefficients, base_row + row, base_column + i - row * columns);
            }
            __syncthreads();  // all values are staged before any lane reads its column's
            if (!strip.has_column) continue;
            const bool is_last_part = base_column + columns == strip.source_end_column;
            const int first_tap = max(0, base_column - strip.column_first);
            const int end_tap = min(strip.column_taps, base_column + columns - strip.column_first);
            for (int row = 0; row < rows; ++row) {
                const float* values = memory.values + row * columns + strip.column_first - base_column;
                // Only a single row comes in parts; its sum goes on from part to part.
                if (staged_rows > 1) sum = 0.0f;
                for (int tap = first_tap; tap < end_tap; ++tap) sum += strip.column_weights[tap] * values[tap];
                if (!is_last_part) continue;
                if (strip.row_taps <= kMostRegisterTaps) {
                    take_row(strip, memory, base_row + row, sum, first_row, end_row, &column);
                } else {
                    take_row_of_many(strip, memory, base_row + row, sum, first_row, end_row, &column);
                }
            }
        }
    }
    if (strip.has_column) return;
    for (int word = 0; word < (end_row - first_row + 31) / 32; ++word) memory.words[word * kStripColumns + lane] = 0;
}

}  // namespace
}  // namespace rfkernels
