#include <cstdint>
#include <vector>

#include "check.h"
#include "rfkernels/neighbourhoods.h"

// What the sanitizers are to see: grids of every shape, buffers that end where the rows do.

int main() {
    for (const std::int64_t height : {1, 2, 3, 7}) {
        for (const std::int64_t width : {1, 2, 3, 8}) {
            const std::int64_t pixel_count = height * width;
            std::vector<std::int32_t> pixels;
            for (std::int64_t pixel = 0; pixel < pixel_count; ++pixel) {
                pixels.push_back(static_cast<std::int32_t>(pixel));
                const std::int64_t count = static_cast<std::int64_t>(pixels.size());
                std::vector<std::int32_t> outer(static_cast<std::size_t>(pixel_count * rfkernels::kNeighbours), -1);
                std::vector<std::int32_t> inner(static_cast<std::size_t>(count * rfkernels::kNeighbours), -1);
                const rfkernels::FeatureGrid grid{height, width, 100, 99};
                std::int64_t needed = 0;
                CHECK(rfkernels::write_neighbourhoods(pixels.data(), count, grid, outer.data(), pixel_count,
                                                      inner.data(), &needed)
                          .ok());
                CHECK(needed >= count && needed <= pixel_count);
                for (std::int64_t i = 0; i < needed * rfkernels::kNeighbours; ++i) {
                    const std::int32_t row = outer[static_cast<std::size_t>(i)];
                    CHECK(row == 99 || (row >= 100 && row < 100 + pixel_count));
                }
                for (const std::int32_t place : inner) CHECK(place >= 0 && place <= needed);
                // The middle of a neighbourhood is the pixel itself, which is needed.
                for (std::int64_t k = 0; k < count; ++k) {
                    const std::int64_t place = inner[static_cast<std::size_t>(k * rfkernels::kNeighbours + 4)] - 1;
                    CHECK(outer[static_cast<std::size_t>(place * rfkernels::kNeighbours + 4)] == 100 + k);
                }
                CHECK(!rfkernels::write_neighbourhoods(pixels.data(), count, grid, outer.data(), needed - 1,
                                                       inner.data(), &needed)
                           .ok());
            }
        }
    }
    return 0;
}
