#include "device/anchors.h"

#include <limits>

namespace rfkernels {

Status read_grid(std::int64_t rows, std::int64_t columns, std::int64_t stride, const std::string& stride_name,
                 std::int64_t* anchor_count, Grid* grid) {
    if (stride < 1) {
        return Status::invalid_argument(stride_name + " is " + std::to_string(stride) + "; give at least 1");
    }
    grid->columns = columns;
    grid->anchor_count = rows * columns;
    grid->first_anchor = *anchor_count;
    grid->stride = static_cast<float>(stride);
    *anchor_count += grid->anchor_count;
    if (*anchor_count > std::numeric_limits<std::int32_t>::max()) {
        return Status::invalid_argument("the levels have more than 2147483647 anchors in all");
    }
    return Status();
}

Status read_grids(const AnchorGrid* grids, std::int64_t grid_count, std::vector<Grid>* read) {
    if (grid_count < 1) return Status::invalid_argument("grids is empty; give the sizes of at least one level");
    std::int64_t anchor_count = 0;
    for (std::int64_t i = 0; i < grid_count; ++i) {
        const std::int64_t longest = std::numeric_limits<std::int32_t>::max();  // keeps the product in 64 bits
        if (grids[i].rows < 1 || grids[i].columns < 1 || grids[i].rows > longest || grids[i].columns > longest) {
            return Status::invalid_argument("grids[" + std::to_string(i) + "] is " + std::to_string(grids[i].rows) +
                                            " x " + std::to_string(grids[i].columns) +
                                            "; give sides from 1 to 2147483647");
        }
        Grid grid;
        Status status = read_grid(grids[i].rows, grids[i].columns, grids[i].stride,
                                  "strides[" + std::to_string(i) + "]", &anchor_count, &grid);
        if (!status.ok()) return status;
        read->push_back(grid);
    }
    return Status();
}

}  // namespace rfkernels
