#pragma once

#include <cstddef>
#include <string>

#include "rfkernels/device.h"

namespace rfkernels {

/// Every device's answer to a copy that a graph could not do again: it would keep the address of memory that nobody
/// keeps for it.
inline Status pageable_in_capture(std::size_t bytes, CopyDirection direction) {
    const std::string way = direction == CopyDirection::kToHost ? "to" : "from";
    return Status::invalid_argument("copy of " + std::to_string(bytes) + " bytes " + way +
                                    " pageable host memory cannot be captured: each launch of the graph would use "
                                    "its address, whatever is there then; give pinned memory");
}

}  // namespace rfkernels
