#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bit_mask.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// Memory of `run_lengths_of`, kept from one mask to the next.
struct RunLengthMemory {
    std::vector<std::uint64_t> columns;
    std::vector<std::int64_t> changes;
};

/// COCO's compressed counts of the grid that a mask is a window of.
std::string run_lengths_of(const BitMask& mask, std::int64_t grid_width, std::int64_t grid_height,
                           RunLengthMemory* memory);

}  // namespace rfkernels
