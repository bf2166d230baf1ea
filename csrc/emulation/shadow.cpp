#include "emulation/shadow.h"

#include <algorithm>

namespace rfkernels::emulation {

void Shadow::clear(std::size_t bytes) {
    pages_.resize(bytes / (4 * kPageCells) + 1);
    ++generation_;
}

const Access* Shadow::record(std::size_t offset, std::size_t bytes, Access access, const LaneOrder& order) {
    const Access* conflict = nullptr;
    const std::size_t end = offset + bytes;
    while (offset < end) {
        const std::size_t in_cell = offset % 4;
        const std::size_t count = std::min<std::size_t>(4 - in_cell, end - offset);
        access.bytes_touched = static_cast<std::uint8_t>(((1U << count) - 1U) << in_cell);
        const Access* found = record_in_cell(offset / 4, access, order);
        if (conflict == nullptr) conflict = found;
        offset += count;
    }
    return conflict;
}

const Access* Shadow::record_in_cell(std::size_t cell, const Access& access, const LaneOrder& order) {
    std::unique_ptr<Page>& page = pages_[cell / kPageCells];
    if (page == nullptr) page = std::make_unique<Page>();
    if (page->generation != generation_) {
        *page = Page();
        page->generation = generation_;
    }
    Access* slots = page->slots[cell % kPageCells];
    Access* target = nullptr;
    Access* oldest_read = nullptr;
    bool conflicts = false;
    for (std::size_t i = 0; i < kSlots; ++i) {
        Access& slot = slots[i];
        if (slot.bytes_touched == 0) {
            if (target == nullptr) target = &slot;
            continue;
        }
        const bool same_lane = slot.moment.block == access.moment.block && slot.moment.lane == access.moment.lane;
        const bool may_race = !same_lane && (slot.writes || access.writes) && !(slot.is_atomic && access.is_atomic) &&
                              (slot.bytes_touched & access.bytes_touched) != 0;
        bool is_before = same_lane;
        if (may_race || (access.writes && !same_lane)) is_before = order.is_after(slot.moment, access.moment);
        if (may_race && !is_before && !conflicts) {
            conflict_ = slot;
            conflicts = true;
        }
        // What comes after both an access and a stronger one later, comes after the first.
        const bool replaced = is_before && (slot.bytes_touched & ~access.bytes_touched) == 0 &&
                              (access.writes || !slot.writes) && (slot.is_atomic || !access.is_atomic);
        if (replaced) {
            if (target != nullptr && target != &slot) target->bytes_touched = 0;
            target = &slot;
        }
        if (!slot.writes && (oldest_read == nullptr || evictions_ % kSlots == i)) oldest_read = &slot;
    }
    if (target == nullptr) {
        ++evictions_;
        target = oldest_read != nullptr ? oldest_read : &slots[evictions_ % kSlots];
    }
    *target = access;
    return conflicts ? &conflict_ : nullptr;
}

}  // namespace rfkernels::emulation
