#pragma once

// What a launch moved, counted as a GPU's profiler counts it. An access of a warp (a "request") is what its lanes do at
// the same place of the code for the same n-th time.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "emulation/memory.h"
#include "emulation/ordering.h"

namespace rfkernels::emulation {

constexpr std::size_t kSectorBytes = 32;

struct RequestCounts {
    std::uint64_t requests = 0;
    std::uint64_t sectors = 0;       ///< of 32 bytes, that the requests touched, each request for itself
    std::uint64_t most_sectors = 0;  ///< of one request
    std::uint64_t lanes = 0;         ///< that took part, in all
    std::uint64_t bytes = 0;         ///< that the lanes asked for
};

struct Traffic {
    RequestCounts global_loads;
    RequestCounts global_stores;
    std::uint64_t global_atomics = 0;
    std::uint64_t shared_requests = 0;
    std::uint64_t shared_wavefronts = 0;  ///< passes that the banks needed
    std::uint64_t bank_conflicts = 0;     ///< of these, beyond what so many bytes need without conflicts
    std::uint64_t local_bytes = 0;        ///< through arrays on a lane's stack; registers on a GPU, or local memory
    /// For each allocation the bytes of its sectors that were read or written at least once: what memory must move.
    struct Moved {
        std::uint64_t read = 0;
        std::uint64_t written = 0;
    };
    std::map<std::string, Moved> moved;
    std::uint64_t moved_bytes() const;
};

/// Collects the accesses of one block's warps and adds them up.
class TrafficCounter {
  public:
    enum class Kind : std::uint8_t { kGlobalLoad, kGlobalStore, kSharedLoad, kSharedStore };
    void start_block(std::size_t warps);
    void add(std::size_t warp, int lane, Kind kind, std::uintptr_t address, std::size_t bytes, const void* place);
    void finish_block(Traffic* traffic);

  private:
    struct Request {
        std::uint32_t lanes = 0;  ///< a bit for each that takes part
        std::array<std::uint8_t, kWarpLanes> bytes;
        std::array<std::uintptr_t, kWarpLanes> addresses;
    };
    /// What a warp does at one place of the code.
    struct Place {
        std::array<std::uint32_t, kWarpLanes> repetitions{};  ///< of each lane, so far
        std::vector<Request> requests;                        ///< by repetition
    };
    struct Warp {
        std::unordered_map<const void*, Place> places[4];  ///< by kind
    };
    static void count_global(const Request& request, RequestCounts* counts);
    static void count_shared(const Request& request, Traffic* traffic);

    std::vector<Warp> warps_;
};

}  // namespace rfkernels::emulation
