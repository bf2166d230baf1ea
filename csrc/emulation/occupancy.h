#pragma once

#include <cstddef>

namespace rfkernels::emulation {

/// What a kernel takes of a multiprocessor: ptxas says the first and the last, the launch the one between.
struct KernelResources {
    int registers = 0;  ///< of a lane
    int lanes = 0;      ///< of a block
    std::size_t shared_bytes = 0;
};

/// How many blocks of a kernel are on a multiprocessor at a time.
struct Occupancy {
    int blocks = 0;
    int warps = 0;
    int most_warps = 0;  ///< that the multiprocessor holds
};

/// By CUDA's own calculator (cuda_occupancy.h). `architecture` is 90 for sm_90.
/// False where it is none that kernels are built for, or what the kernel takes makes no sense.
bool occupancy_of(int architecture, const KernelResources& resources, Occupancy* occupancy);

}  // namespace rfkernels::emulation
