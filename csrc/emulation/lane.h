#pragma once

// What a lane asks of the harness. Kernels do so through kernel_language.h.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulation/emulation.h"

namespace rfkernels::emulation {

/// Where in a kernel's source something is called.
struct Site {
    const char* file = "";
    int line = 0;
    bool operator==(const Site& other) const {
        return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
    }
    bool operator!=(const Site& other) const { return !(*this == other); }
};

enum class BarrierKind { kPlain, kCount, kAnd, kOr };

enum class WarpOperation {
    kSync,
    kShuffle,
    kBallot,
    kAny,
    kAll,
    kMatchAny,
    kAddUnsigned,
    kMinUnsigned,
    kMaxUnsigned,
    kMinSigned,
    kMaxSigned,
    kAnd,
    kOr,
    kXor,
};

namespace lane {

Extent thread_index();
Extent block_index();
Extent block_extent();
Extent grid_extent();

int barrier(BarrierKind kind, int predicate, Site site);
/// source_lane counts for a shuffle alone: the lane of the warp whose value is wanted.
std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source_lane,
                             Site site);
std::uint32_t active_mask(Site site);
void fence();

void* shared_array(const void* tag, const char* name, std::size_t bytes);
void* dynamic_shared();

/// Before an atomic, and before a load or store that is said to be racy on purpose.
void marked_access(const void* address, std::size_t bytes, bool writes, bool is_atomic, const void* place);

/// Any other load or store; the hooks call it.
void access(const void* address, std::size_t bytes, bool writes, const void* place);

/// A load or store of several words at once, checked and counted as one.
void load_vector(const void* address, void* value, std::size_t bytes);
void store_vector(void* address, const void* value, std::size_t bytes);

}  // namespace lane
}  // namespace rfkernels::emulation
