#pragma once

// What the harness has found wrong with a kernel.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace rfkernels::emulation {

enum class FindingKind {
    kRace,                    ///< two lanes of a block touch the same bytes, one writes, nothing orders them
    kRaceBetweenBlocks,       ///< the same, of two blocks: an atomic or a fence is missing
    kOutOfBounds,             ///< no allocation, shared array or constant lies there
    kUseAfterFree,            ///< the allocation is gone
    kUninitialisedRead,       ///< nobody has written these bytes
    kMisalignedAccess,        ///< the address is no multiple of the access's size: a fault on a GPU
    kWriteToConstant,         ///< into read-only memory
    kDivergentBarrier,        ///< lanes of a block wait at different __syncthreads
    kExitedBeforeBarrier,     ///< a lane has returned while others wait at __syncthreads
    kCallerNotInMask,         ///< a warp operation whose mask leaves out the lane that calls it
    kExitedLaneInMask,        ///< a warp operation whose mask names a lane that has returned or never was
    kDivergentWarpOperation,  ///< lanes of one mask wait at different warp operations, or with different masks
    kInactiveLaneRead,        ///< a shuffle from a lane that takes no part in it
    kActiveMaskUsed,          ///< __activemask() says who happens to run, not who must
    kDeadlock,                ///< lanes wait for each other for ever
    kEndlessLoop,             ///< more steps than any kernel here takes
    kLaunchLimits,            ///< a grid, block or shared memory that no GPU would take
};

/// "race", "out_of_bounds", ...
const char* name_of(FindingKind kind);

struct Finding {
    FindingKind kind;
    std::string kernel;
    std::string message;  ///< who, where, what; one line
    std::uint64_t count;  ///< how often at the same place
};

/// Findings of all launches since they were last taken, those at the same place of a kernel once.
class Findings {
  public:
    void add(FindingKind kind, const char* kernel, const void* place, const void* other_place, std::string message);
    std::vector<Finding> take();
    bool empty() const { return findings_.empty(); }
    std::size_t size() const { return findings_.size(); }
    const Finding& operator[](std::size_t index) const { return findings_[index]; }

  private:
    std::vector<Finding> findings_;
    std::map<std::tuple<FindingKind, std::string, const void*, const void*>, std::size_t> index_of_;
};

}  // namespace rfkernels::emulation
