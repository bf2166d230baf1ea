#pragma once

// One launch while it runs: its blocks, their lanes, who waits for whom.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/lane.h"
#include "emulation/ordering.h"
#include "emulation/shadow.h"

namespace rfkernels::emulation {

struct BlockState;

struct LaneState {
    enum class State { kReady, kAtBarrier, kAtWarpOperation, kDone };
    State state = State::kReady;
    BlockState* block = nullptr;
    std::uint16_t number = 0;  ///< in its block
    Extent thread_index;
    std::unique_ptr<Fiber> fiber;  ///< from its first step to its last
    // What it waits for.
    Site site;
    BarrierKind barrier_kind = BarrierKind::kPlain;
    int predicate = 0;
    WarpOperation operation = WarpOperation::kSync;
    std::uint32_t mask = 0;
    std::uint64_t value = 0;
    int source_lane = 0;
    std::uint64_t result = 0;
    LaneOrder order;

    int lane_of_warp() const { return number % kWarpLanes; }
    std::uint32_t bit() const { return 1U << lane_of_warp(); }
    std::size_t warp() const { return number / kWarpLanes; }
};

/// Of a warp's lanes, a bit each.
struct WarpState {
    std::uint32_t at_operation = 0;
    std::uint32_t gone = 0;  ///< returned, or never there
};

struct BlockState {
    std::uint32_t number = 0;  ///< in the grid
    Extent index;
    std::vector<LaneState> lanes;
    std::vector<WarpState> warps;
    std::deque<LaneState*> ready;
    std::size_t at_barrier = 0;
    std::size_t done = 0;
    std::uint32_t epoch = 0;
    SharedMemory shared;
    TrafficCounter traffic;
};

class Execution {
  public:
    Execution(Emulator* emulator, const Launch& launch);
    ~Execution();
    bool run();

    // Of the lane that runs.
    static Execution* current() { return current_; }
    LaneState& lane() { return *lane_; }
    const Launch& launch() const { return launch_; }
    int barrier(BarrierKind kind, int predicate, Site site);
    std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source_lane,
                                 Site site);
    std::uint32_t active_mask(Site site);
    void fence();
    void* shared_array(const void* tag, const char* name, std::size_t bytes);
    void access(const void* address, std::size_t bytes, bool writes, bool is_atomic, const void* place);
    void pass_through(const void* variable) { variables_.pass(variable, &lane_->order); }
    void count_step();
    void yield_perhaps();

  private:
    bool limits_hold();
    void start(BlockState* block, std::uint32_t number);
    void step(BlockState* block);
    LaneState* next_lane(BlockState* block);
    bool resolve(BlockState* block);
    void release_barrier(BlockState* block);
    void try_warp_operation(LaneState* lane);
    void complete_warp_operation(LaneState** members, std::uint32_t mask);
    std::uint64_t result_for(const LaneState& lane, LaneState* const* members, std::uint32_t mask);
    void finish(BlockState* block);
    void suspend();
    bool check_access(Region* region, const void* address, std::size_t bytes, bool writes, const void* place);
    void count_access(Region* region, const void* address, std::size_t bytes, bool writes, bool is_atomic,
                      const void* place);
    void report(FindingKind kind, const void* place, const void* other_place, std::string message);
    void report_deadlock(const BlockState& block);
    std::string where(const LaneState& lane) const;
    Moment now(const LaneState& lane) const;
    std::size_t random_below(std::size_t count);

    static thread_local Execution* current_;

    Emulator* emulator_;
    Launch launch_;
    Options options_;
    std::mt19937_64 random_;
    std::vector<std::unique_ptr<BlockState>> resident_;
    std::vector<std::unique_ptr<BlockState>> spare_;
    SynchronisationVariables variables_;
    LaneState* lane_ = nullptr;
    std::uint64_t steps_ = 0;
    bool given_up_ = false;
    std::exception_ptr error_;  ///< of the harness itself within a lane: no memory, say
    LaunchRecord record_;
};

}  // namespace rfkernels::emulation
