#pragma once

// What draws finished rows and padding onto the canvas of a plan, for the files that are compiled for each instruction
// set: each has a class of its own, in the namespace of its variant.

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"

namespace rfkernels::RFK_VARIANT {

class Canvas {
  public:
    explicit Canvas(const DrawPlan& plan);

    /// plan.finished_row, and the padding to its left and right, to a row of the canvas.
    void draw_row(std::int64_t row) const;

    /// Rows [begin, end) of padding.
    void pad_rows(std::int64_t begin, std::int64_t end) const;

  private:
    void* at(int channel, std::int64_t row, std::int64_t column) const;
    void pad(int channel, std::int64_t row, std::int64_t column, std::int64_t count) const;
    void convert(const std::uint8_t* source, int channel, void* target) const;
    bool looks_up() const;
    void fill_table(int channel);
    void to_two_bytes(const std::uint8_t* source, int channel, std::uint16_t* target, std::int64_t count) const;
    template <typename Element>
    void normalize_row(const std::uint8_t* source, int channel, Element* target, std::int64_t count) const;

    const DrawPlan& plan_;
    float pad_values_[3];
    std::uint16_t pad_halves_[3];
    std::uint16_t tables_[3][256];  // where `looks_up`
};

}  // namespace rfkernels::RFK_VARIANT
