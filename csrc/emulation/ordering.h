#pragma once

// What happens before what. A lane is known to be after an access of another one when
//   - both are of one block and a __syncthreads lies between (`epoch` counts them),
//   - both are of one warp and warp operations lead from one to the other (`clock` of each lane, as vector clocks),
//   - the other one went through __threadfence and an atomic, this one through an atomic on the same address and then
//     __threadfence (`Knowledge`). What the other lane knew, this one knows from then on. So a block passes on what
//     all its lanes did by a barrier, then a fence, then an atomic of one lane, in this order.

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rfkernels::emulation {

constexpr int kWarpLanes = 32;

/// When and by whom something was done.
struct Moment {
    std::uint32_t block = 0;
    std::uint32_t clock = 0;  ///< of the lane: warp operations and fences it has been through
    std::uint16_t lane = 0;
    std::uint32_t epoch = 0;  ///< of the block: barriers it has been through
};

/// Of other blocks, and of other warps of the own one: all before an epoch, and single lanes up to a clock.
class Knowledge {
  public:
    void learn(const Moment& moment);
    void learn(const Knowledge& other);
    bool covers(const Moment& moment) const;

  private:
    struct OfBlock {
        std::uint32_t epoch = 0;
        std::vector<std::pair<std::uint16_t, std::uint32_t>> lanes;  ///< lane and its clock, within that epoch
    };
    std::unordered_map<std::uint32_t, OfBlock> blocks_;
};

/// Adds one's knowledge to that of all. Those who have met hold one object: where it is the same already nothing is to
/// do, which is most of the time.
void add_knowledge(const std::shared_ptr<const Knowledge>& own, std::shared_ptr<const Knowledge>* all);

struct LaneOrder {
    std::uint32_t clock = 1;
    std::array<std::uint32_t, kWarpLanes> warp_clocks{};  ///< of the lanes of the own warp
    std::shared_ptr<const Knowledge> known;
    std::shared_ptr<const Knowledge> seen;      ///< by atomics: becomes known at the next fence
    std::shared_ptr<const Knowledge> released;  ///< what held at the last fence: what an atomic passes on

    void restart();
    bool is_after(const Moment& access, const Moment& now) const;
    void fence(const Moment& now);
    void learn(const std::shared_ptr<const Knowledge>& other);
};

/// Of all atomics of a launch: what whoever comes next to an address may learn there.
class SynchronisationVariables {
  public:
    void clear() { variables_.clear(); }
    void pass(const void* address, LaneOrder* lane);

  private:
    std::unordered_map<const void*, std::shared_ptr<const Knowledge>> variables_;
};

}  // namespace rfkernels::emulation
