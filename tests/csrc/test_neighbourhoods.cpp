#include <cstdint>
#include <vector>

#include "check.h"
#include "rfkernels/neighbourhoods.h"

// What the sanitizers are to see: grids of every shape, one and two of them, buffers that end where the rows do.

namespace {

using rfkernels::FeatureGrid;
using rfkernels::kNeighbours;
using rfkernels::Neighbourhoods;
using rfkernels::RowCounts;
using rfkernels::write_neighbourhoods;

std::int64_t at(const std::vector<std::int32_t>& rows, std::int64_t row, int tap) {
    return rows[static_cast<std::size_t>(row * kNeighbours + tap)];
}

/// Memory of exactly so many rows.
struct Rows {
    std::vector<std::int32_t> outer;
    std::vector<std::int32_t> inner;

    Rows(std::int64_t outer_rows, std::int64_t inner_rows)
        : outer(static_cast<std::size_t>(outer_rows * kNeighbours), -1),
          inner(static_cast<std::size_t>(inner_rows * kNeighbours), -1) {}

    Neighbourhoods lent() {
        const auto rows = [](const std::vector<std::int32_t>& values) {
            return static_cast<std::int64_t>(values.size()) / kNeighbours;
        };
        return Neighbourhoods{outer.data(), inner.data(), rows(outer), rows(inner), 0, 0};
    }
};

void check_rows(const Rows& rows, const Neighbourhoods& written, std::int64_t count, std::int64_t pixel_count) {
    CHECK(written.outer_count >= count && written.outer_count <= pixel_count);
    CHECK(written.inner_count == count);
    for (std::int64_t i = 0; i < written.outer_count * kNeighbours; ++i) {
        const std::int32_t row = rows.outer[static_cast<std::size_t>(i)];
        CHECK(row == 99 || (row >= 100 && row < 100 + pixel_count));
    }
    for (const std::int32_t place : rows.inner) CHECK(place >= 0 && place <= written.outer_count);
    // The middle of a neighbourhood is the pixel itself, which is needed.
    for (std::int64_t k = 0; k < count; ++k) CHECK(at(rows.outer, at(rows.inner, k, 4) - 1, 4) == 100 + k);
}

void check_one_and_two_grids(std::int64_t height, std::int64_t width) {
    const std::int64_t pixel_count = height * width;
    const FeatureGrid grid{height, width, 100, 99};
    const FeatureGrid grids[2] = {grid, grid};
    std::vector<std::int32_t> pixels;
    for (std::int64_t count = 1; count <= pixel_count; ++count) {
        pixels.push_back(static_cast<std::int32_t>(count - 1));
        Rows rows(pixel_count, count);
        Neighbourhoods written = rows.lent();
        CHECK(write_neighbourhoods(pixels.data(), &count, &grid, 1, RowCounts{}, &written).ok());
        check_rows(rows, written, count, pixel_count);

        // The same pixels of two grids, the second one's counted on.
        std::vector<std::int32_t> both = pixels;
        for (const std::int32_t pixel : pixels) both.push_back(static_cast<std::int32_t>(pixel + pixel_count));
        const std::int64_t counts[2] = {count, count};
        Rows first(pixel_count, count);
        Rows second(pixel_count, count);
        Neighbourhoods two[2] = {first.lent(), second.lent()};
        CHECK(write_neighbourhoods(both.data(), counts, grids, 2, RowCounts{}, two).ok());
        CHECK(first.outer == rows.outer && second.outer == rows.outer);
        CHECK(first.inner == rows.inner && second.inner == rows.inner);
        CHECK(!write_neighbourhoods(both.data() + count, counts, grids, 1, RowCounts{}, two).ok());

        // Memory that just does, and one row less.
        for (const std::int64_t missing : {0, 1}) {
            Rows fewer(written.outer_count - missing, count);
            Neighbourhoods lent = fewer.lent();
            CHECK(write_neighbourhoods(pixels.data(), &count, &grid, 1, RowCounts{}, &lent).ok() == (missing == 0));
            Rows shorter(pixel_count, count - missing);
            lent = shorter.lent();
            CHECK(write_neighbourhoods(pixels.data(), &count, &grid, 1, RowCounts{}, &lent).ok() == (missing == 0));
        }
    }
}

void check_added_rows() {
    const std::int32_t pixel = 0;
    const std::int64_t count = 1;
    const FeatureGrid grid{4, 4, 0, 16};  // needs 4 rows of outer and 1 of inner
    const std::int64_t allowed[3] = {2, 6, 10};
    for (const std::int64_t capacity : {4, 5, 6, 7}) {
        Rows rows(capacity, capacity - 3);
        Neighbourhoods written = rows.lent();
        CHECK(write_neighbourhoods(&pixel, &count, &grid, 1, RowCounts{allowed, 3}, &written).ok());
        CHECK(written.outer_count == (capacity < 6 ? capacity : 6));
        CHECK(written.inner_count == (capacity == 4 ? 1 : 2));
        for (std::int64_t row = 4; row < written.outer_count; ++row) CHECK(at(rows.outer, row, 8) == 16);
        for (std::int64_t row = 1; row < written.inner_count; ++row) CHECK(at(rows.inner, row, 8) == 0);
        written = rows.lent();
        CHECK(write_neighbourhoods(&pixel, &count, &grid, 1, RowCounts{allowed, 1}, &written).ok());
        CHECK(written.outer_count == 4);
    }
    const std::int64_t turned[2] = {8, 6};
    Rows rows(16, 1);
    Neighbourhoods written = rows.lent();
    CHECK(!write_neighbourhoods(&pixel, &count, &grid, 1, RowCounts{turned, 2}, &written).ok());
}

}  // namespace

int main() {
    for (const std::int64_t height : {1, 2, 3, 7}) {
        for (const std::int64_t width : {1, 2, 3, 8}) check_one_and_two_grids(height, width);
    }
    check_added_rows();
    return 0;
}
