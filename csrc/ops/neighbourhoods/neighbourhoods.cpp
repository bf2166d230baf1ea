#include "rfkernels/neighbourhoods.h"

#include <limits>
#include <string>
#include <vector>

#include "device/guarded.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max() - 1;

Status check_grid(const FeatureGrid& grid) {
    if (grid.height < 1 || grid.width < 1 || grid.height > kMostPixels / grid.width) {
        return Status::invalid_argument("grid is " + std::to_string(grid.height) + " x " + std::to_string(grid.width) +
                                        "; give sides from 1, and less than 2^31 pixels");
    }
    if (grid.first_row < 0 || grid.outside_row < 0 || grid.first_row > kMostPixels - grid.height * grid.width) {
        return Status::invalid_argument("first_row is " + std::to_string(grid.first_row) + ", outside_row " +
                                        std::to_string(grid.outside_row) + "; give rows from 0 to 2^31 - 2");
    }
    return Status();
}

/// Calls visit(place in the neighbourhood, pixel, or -1 outside) for the neighbours of a pixel, row by row.
template <typename Visit>
void for_each_neighbour(const FeatureGrid& grid, std::int64_t pixel, Visit visit) {
    const std::int64_t row = pixel / grid.width;
    const std::int64_t column = pixel % grid.width;
    int place = 0;
    for (std::int64_t y = row - 1; y <= row + 1; ++y) {
        for (std::int64_t x = column - 1; x <= column + 1; ++x) {
            const bool inside = y >= 0 && y < grid.height && x >= 0 && x < grid.width;
            visit(place++, inside ? y * grid.width + x : -1);
        }
    }
}

}  // namespace

Status write_neighbourhoods(const std::int32_t* pixels, std::int64_t count, const FeatureGrid& grid,
                            std::int32_t* outer, std::int64_t outer_capacity, std::int32_t* inner,
                            std::int64_t* needed_count) {
    return guarded("neighbourhoods: not enough memory for the pixels of the grid", [&]() -> Status {
        Status status = check_grid(grid);
        if (!status.ok()) return status;
        const std::int64_t pixel_count = grid.height * grid.width;
        // Read once: places in memory are computed from them, and another thread of the caller may be writing to them.
        const std::vector<std::int32_t> wanted(pixels, pixels + count);
        for (const std::int32_t pixel : wanted) {
            if (pixel < 0 || pixel >= pixel_count) {
                return Status::invalid_argument("pixels has " + std::to_string(pixel) + "; give numbers from 0 to " +
                                                std::to_string(pixel_count - 1));
            }
        }
        // For each pixel its place among the needed from 1, 0 where it is not needed.
        std::vector<std::int32_t> places(static_cast<std::size_t>(pixel_count), 0);
        for (const std::int32_t pixel : wanted) {
            for_each_neighbour(grid, pixel, [&](int, std::int64_t neighbour) {
                if (neighbour >= 0) places[static_cast<std::size_t>(neighbour)] = 1;
            });
        }
        std::int64_t needed = 0;
        for (std::int64_t pixel = 0; pixel < pixel_count; ++pixel) {
            std::int32_t& place = places[static_cast<std::size_t>(pixel)];
            if (place == 0) continue;
            if (needed == outer_capacity) {
                return Status::invalid_argument("outer has " + std::to_string(outer_capacity) +
                                                " rows, which are not enough; give 9 for each of the pixels");
            }
            std::int32_t* row = outer + needed * kNeighbours;
            for_each_neighbour(grid, pixel, [&](int tap, std::int64_t neighbour) {
                row[tap] = neighbour < 0 ? grid.outside_row : grid.first_row + static_cast<std::int32_t>(neighbour);
            });
            place = static_cast<std::int32_t>(++needed);
        }
        for (std::int64_t k = 0; k < count; ++k) {
            std::int32_t* row = inner + k * kNeighbours;
            for_each_neighbour(grid, wanted[static_cast<std::size_t>(k)], [&](int tap, std::int64_t neighbour) {
                row[tap] = neighbour < 0 ? 0 : places[static_cast<std::size_t>(neighbour)];
            });
        }
        *needed_count = needed;
        return Status();
    });
}

}  // namespace rfkernels
