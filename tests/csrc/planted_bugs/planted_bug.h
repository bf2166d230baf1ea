#pragma once

// Kernels that are wrong on purpose, one fault each, and right where `faulty` is false: what shows that the harness
// reports the fault, and nothing else.

#include "rfkernels/tensor.h"

namespace rfkernels::planted {

/// Memory for a kernel: 4096 numbers to read (0, 1, 2, ...), 4096 to write (zeros), both in the given state.
struct Workbench {
    const int* input = nullptr;
    int* output = nullptr;
    int* counter = nullptr;          ///< one number, 0
    const int* unwritten = nullptr;  ///< 4096 numbers that nobody has written
    const int* released = nullptr;   ///< memory that was given back
    Stream stream = nullptr;
};
constexpr int kNumbers = 4096;

using Run = bool(const Workbench& bench, bool faulty);

Run missing_barrier;
Run reuse_without_barrier;
Run barrier_in_a_branch;
Run barriers_apart;
Run exit_before_barrier;
Run missing_syncwarp;
Run mask_without_caller;
Run mask_with_exited_lane;
Run masks_that_differ;
Run shuffle_from_outside;
Run active_mask;
Run lost_update;
Run ticket_without_fence;
Run blocks_overlap;
Run beyond_the_end;
Run beyond_shared;
Run unwritten_shared;
Run unwritten_global;
Run after_release;
Run misaligned_vector;
Run spinning;
Run too_many_lanes;
Run too_much_shared;

}  // namespace rfkernels::planted
