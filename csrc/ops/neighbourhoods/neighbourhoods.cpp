#include "rfkernels/neighbourhoods.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "device/guarded.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max() - 1;

Status check_grid(const FeatureGrid& grid, const std::string& name) {
    if (grid.height < 1 || grid.width < 1 || grid.height > kMostPixels / grid.width) {
        return Status::invalid_argument(name + " is " + std::to_string(grid.height) + " x " +
                                        std::to_string(grid.width) + "; give sides from 1, and less than 2^31 pixels");
    }
    if (grid.first_row < 0 || grid.outside_row < 0 || grid.first_row > kMostPixels - grid.height * grid.width) {
        return Status::invalid_argument(name + " has first_row " + std::to_string(grid.first_row) +
                                        " and outside_row " + std::to_string(grid.outside_row) +
                                        "; give rows from 0 to 2^31 - 2");
    }
    return Status();
}

/// Calls visit(place in the neighbourhood, pixel, or -1 outside) for the neighbours of a pixel, row by row.
template <typename Visit>
void for_each_neighbour(std::int32_t height, std::int32_t width, std::int32_t pixel, Visit visit) {
    const std::int32_t row = pixel / width;
    const std::int32_t column = pixel % width;
    int place = 0;
    for (std::int32_t y = row - 1; y <= row + 1; ++y) {
        for (std::int32_t x = column - 1; x <= column + 1; ++x) {
            const bool inside = y >= 0 && y < height && x >= 0 && x < width;
            visit(place++, inside ? y * width + x : -1);
        }
    }
}

/// Fills rows from `count` on with one number, and returns how many there are then.
std::int64_t add_rows(std::int32_t* rows, std::int64_t count, std::int64_t capacity, const RowCounts& row_counts,
                      std::int32_t number) {
    const std::int64_t* end = row_counts.allowed + row_counts.count;
    const std::int64_t* least = std::lower_bound(row_counts.allowed, end, count);
    if (least == end) return count;
    // Read once and bounded: another thread of the caller may have written it since it was found.
    const std::int64_t found = *least;
    const std::int64_t wanted = std::max(count, std::min(found, capacity));
    std::fill(rows + count * kNeighbours, rows + wanted * kNeighbours, number);
    return wanted;
}

/// One grid: its pixels, counted from its own first, are `wanted` [count]; places is memory for all of them.
Status write_grid(const std::int32_t* wanted, std::int64_t count, const FeatureGrid& grid, const std::string& name,
                  const RowCounts& row_counts, std::vector<std::int32_t>* places, Neighbourhoods* result) {
    const auto height = static_cast<std::int32_t>(grid.height);
    const auto width = static_cast<std::int32_t>(grid.width);
    // For each pixel its place among the needed from 1, 0 where it is not needed.
    places->assign(static_cast<std::size_t>(grid.height * grid.width), 0);
    std::int32_t* place_of = places->data();
    for (std::int64_t k = 0; k < count; ++k) {
        for_each_neighbour(height, width, wanted[k], [&](int, std::int32_t neighbour) {
            if (neighbour >= 0) place_of[neighbour] = 1;
        });
    }
    std::int32_t needed = 0;
    for (std::int32_t pixel = 0; pixel < height * width; ++pixel) {
        if (place_of[pixel] == 0) continue;
        if (needed == result->outer_capacity) {
            return Status::invalid_argument(name + ": outer has " + std::to_string(result->outer_capacity) +
                                            " rows, which are not enough; give 9 for each of the pixels");
        }
        std::int32_t* row = result->outer + std::int64_t{needed} * kNeighbours;
        for_each_neighbour(height, width, pixel, [&](int tap, std::int32_t neighbour) {
            row[tap] = neighbour < 0 ? grid.outside_row : grid.first_row + neighbour;
        });
        place_of[pixel] = ++needed;
    }
    for (std::int64_t k = 0; k < count; ++k) {
        std::int32_t* row = result->inner + k * kNeighbours;
        for_each_neighbour(height, width, wanted[k], [&](int tap, std::int32_t neighbour) {
            row[tap] = neighbour < 0 ? 0 : place_of[neighbour];
        });
    }
    result->outer_count = add_rows(result->outer, needed, result->outer_capacity, row_counts, grid.outside_row);
    result->inner_count = add_rows(result->inner, count, result->inner_capacity, row_counts, 0);
    return Status();
}

}  // namespace

Status write_neighbourhoods(const std::int32_t* pixels, const std::int64_t* counts, const FeatureGrid* grids,
                            std::int64_t grid_count, const RowCounts& row_counts, Neighbourhoods* results) {
    return guarded("neighbourhoods: not enough memory for the pixels of the grids", [&]() -> Status {
        if (!std::is_sorted(row_counts.allowed, row_counts.allowed + row_counts.count)) {
            return Status::invalid_argument("row_counts are not in ascending order");
        }
        std::vector<std::int32_t> wanted;
        std::vector<std::int32_t> places;
        std::int64_t first_pixel = 0;
        for (std::int64_t index = 0; index < grid_count; ++index) {
            const std::string name = "grids[" + std::to_string(index) + "]";
            const FeatureGrid& grid = grids[index];
            Status status = check_grid(grid, name);
            if (!status.ok()) return status;
            const std::int64_t pixel_count = grid.height * grid.width;
            const std::int64_t count = counts[index];
            if (count < 0 || results[index].inner_capacity < count) {
                return Status::invalid_argument(name + ": " + std::to_string(count) + " pixels, but inner has " +
                                                std::to_string(results[index].inner_capacity) + " rows");
            }
            // Read once: places in memory are computed from them, and another thread of the caller may be writing.
            wanted.assign(pixels, pixels + count);
            for (std::int32_t& pixel : wanted) {
                if (pixel < first_pixel || pixel >= first_pixel + pixel_count) {
                    return Status::invalid_argument("pixels of " + name + " has " + std::to_string(pixel) +
                                                    "; give numbers from " + std::to_string(first_pixel) + " to " +
                                                    std::to_string(first_pixel + pixel_count - 1));
                }
                pixel = static_cast<std::int32_t>(pixel - first_pixel);
            }
            status = write_grid(wanted.data(), count, grid, name, row_counts, &places, &results[index]);
            if (!status.ok()) return status;
            pixels += count;
            first_pixel += pixel_count;
        }
        return Status();
    });
}

}  // namespace rfkernels
