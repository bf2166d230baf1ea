#include "emulation/ordering.h"

#include <algorithm>

namespace rfkernels::emulation {

void Knowledge::learn(const Moment& moment) {
    OfBlock& block = blocks_[moment.block];
    if (moment.epoch < block.epoch) return;
    if (moment.epoch > block.epoch) {
        block.epoch = moment.epoch;
        block.lanes.clear();
    }
    for (auto& [lane, clock] : block.lanes) {
        if (lane == moment.lane) {
            clock = std::max(clock, moment.clock);
            return;
        }
    }
    block.lanes.emplace_back(moment.lane, moment.clock);
}

void Knowledge::learn(const Knowledge& other) {
    for (const auto& [block, known] : other.blocks_) {
        learn(Moment{block, 0, 0, known.epoch});
        for (const auto& [lane, clock] : known.lanes) learn(Moment{block, clock, lane, known.epoch});
    }
}

bool Knowledge::covers(const Moment& moment) const {
    const auto entry = blocks_.find(moment.block);
    if (entry == blocks_.end()) return false;
    const OfBlock& block = entry->second;
    if (moment.epoch != block.epoch) return moment.epoch < block.epoch;
    return std::any_of(block.lanes.begin(), block.lanes.end(), [&](const auto& entry_of_lane) {
        return entry_of_lane.first == moment.lane && moment.clock <= entry_of_lane.second;
    });
}

void LaneOrder::restart() {
    clock = 1;
    warp_clocks.fill(0);
    known.reset();
    seen.reset();
    released.reset();
}

bool LaneOrder::is_after(const Moment& access, const Moment& now) const {
    if (access.block == now.block) {
        if (access.lane == now.lane || access.epoch < now.epoch) return true;
        if (access.lane / kWarpLanes == now.lane / kWarpLanes &&
            access.clock <= warp_clocks[access.lane % kWarpLanes]) {
            return true;
        }
    }
    return known != nullptr && known->covers(access);
}

void LaneOrder::fence(const Moment& now) {
    if (seen != nullptr) {
        learn(seen);
        seen.reset();
    }
    auto knowledge = known == nullptr ? std::make_shared<Knowledge>() : std::make_shared<Knowledge>(*known);
    knowledge->learn(now);
    const std::uint16_t first = static_cast<std::uint16_t>(now.lane / kWarpLanes * kWarpLanes);
    for (int i = 0; i < kWarpLanes; ++i) {
        if (warp_clocks[i] == 0 || first + i == now.lane) continue;
        knowledge->learn(Moment{now.block, warp_clocks[i], static_cast<std::uint16_t>(first + i), now.epoch});
    }
    released = std::move(knowledge);
    ++clock;
}

void add_knowledge(const std::shared_ptr<const Knowledge>& own, std::shared_ptr<const Knowledge>* all) {
    if (own == nullptr || own == *all) return;
    if (*all == nullptr) {
        *all = own;
        return;
    }
    auto both = std::make_shared<Knowledge>(**all);
    both->learn(*own);
    *all = std::move(both);
}

void LaneOrder::learn(const std::shared_ptr<const Knowledge>& other) {
    add_knowledge(other, &known);
}

void SynchronisationVariables::pass(const void* address, LaneOrder* lane) {
    std::shared_ptr<const Knowledge>& variable = variables_[address];
    add_knowledge(variable, &lane->seen);
    add_knowledge(lane->released, &variable);
}

}  // namespace rfkernels::emulation
