#pragma once

// Who touched each byte of a region: what the race detector remembers.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "emulation/ordering.h"

namespace rfkernels::emulation {

struct Access {
    Moment moment;
    const void* place = nullptr;     ///< in the kernel's code
    std::uint8_t bytes_touched = 0;  ///< a bit for each of the cell's four bytes; 0 where the slot is free
    bool writes = false;
    bool is_atomic = false;  ///< or said to be racy on purpose
};

/// Four accesses for every four bytes. Where more are to be remembered, writes stay and a read makes room: a race may
/// go unseen in one schedule, and none is reported that is not there.
struct Shadow {
    void clear(std::size_t bytes);
    /// Remembers an access of up to 16 bytes from `offset`; the one that it races with, if there is one.
    const Access* record(std::size_t offset, std::size_t bytes, Access access, const LaneOrder& order);

  private:
    static constexpr std::size_t kSlots = 4;
    static constexpr std::size_t kPageCells = 256;
    struct Page {
        std::uint32_t generation = 0;
        Access slots[kPageCells][kSlots];
    };
    const Access* record_in_cell(std::size_t cell, const Access& access, const LaneOrder& order);

    std::vector<std::unique_ptr<Page>> pages_;
    std::uint32_t generation_ = 1;
    std::uint32_t evictions_ = 0;
    Access conflict_;
};

}  // namespace rfkernels::emulation
