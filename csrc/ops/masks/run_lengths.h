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

/// Appends a place, counted down the columns, where a mask begins or ends. A mask that reaches the lower border and
/// goes on at the top of the next column has not ended: two changes at one place are none.
inline void append_change(std::int64_t place, std::vector<std::int64_t>* changes) {
    if (!changes->empty() && changes->back() == place) {
        changes->pop_back();
    } else {
        changes->push_back(place);
    }
}

/// COCO's compressed counts of a mask of `total` pixels; appends the end to `changes`.
std::string run_lengths_of_changes(std::vector<std::int64_t>* changes, std::int64_t total);

/// COCO's compressed counts of the grid that a mask is a window of.
std::string run_lengths_of(const BitMask& mask, std::int64_t grid_width, std::int64_t grid_height,
                           RunLengthMemory* memory);

}  // namespace rfkernels
