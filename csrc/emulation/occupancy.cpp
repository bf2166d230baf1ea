#include "emulation/occupancy.h"

#include <cuda_occupancy.h>

#include <climits>

namespace rfkernels::emulation {
namespace {

constexpr int kWarpLanes = 32;
constexpr int kRegisters = 65536;
constexpr std::size_t kKilobyte = 1024;

/// Source: CUDA C++ Programming Guide 13.0, technical specifications for each compute capability.
struct Multiprocessor {
    int architecture;
    int lanes;
    std::size_t shared_bytes;
    std::size_t most_shared_bytes_of_block;
    std::size_t reserved_shared_bytes_of_block;
};
constexpr Multiprocessor kMultiprocessors[] = {
    {75, 1024, 64 * kKilobyte, 64 * kKilobyte, 0},           {80, 2048, 164 * kKilobyte, 163 * kKilobyte, kKilobyte},
    {86, 1536, 100 * kKilobyte, 99 * kKilobyte, kKilobyte},  {89, 1536, 100 * kKilobyte, 99 * kKilobyte, kKilobyte},
    {90, 2048, 228 * kKilobyte, 227 * kKilobyte, kKilobyte}, {100, 2048, 228 * kKilobyte, 227 * kKilobyte, kKilobyte},
    {120, 1536, 100 * kKilobyte, 99 * kKilobyte, kKilobyte},
};

}  // namespace

bool occupancy_of(int architecture, const KernelResources& resources, Occupancy* occupancy) {
    for (const Multiprocessor& multiprocessor : kMultiprocessors) {
        if (multiprocessor.architecture != architecture) continue;
        cudaOccDeviceProp device;
        device.computeMajor = architecture / 10;
        device.computeMinor = architecture % 10;
        device.maxThreadsPerBlock = 1024;
        device.maxThreadsPerMultiprocessor = multiprocessor.lanes;
        device.regsPerBlock = kRegisters;
        device.regsPerMultiprocessor = kRegisters;
        device.warpSize = kWarpLanes;
        device.sharedMemPerBlock = 48 * kKilobyte;
        device.sharedMemPerMultiprocessor = multiprocessor.shared_bytes;
        device.numSms = 1;
        device.sharedMemPerBlockOptin = multiprocessor.most_shared_bytes_of_block;
        device.reservedSharedMemPerBlock = multiprocessor.reserved_shared_bytes_of_block;
        cudaOccFuncAttributes kernel;
        kernel.maxThreadsPerBlock = INT_MAX;
        kernel.numRegs = resources.registers;
        kernel.sharedSizeBytes = resources.shared_bytes;
        kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
        kernel.maxDynamicSharedSizeBytes = 0;
        kernel.numBlockBarriers = 1;
        const cudaOccDeviceState state;
        cudaOccResult result;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, resources.lanes, 0) !=
            CUDA_OCC_SUCCESS) {
            return false;
        }
        const int warps = (resources.lanes + kWarpLanes - 1) / kWarpLanes;
        occupancy->blocks = result.activeBlocksPerMultiprocessor;
        occupancy->warps = occupancy->blocks * warps;
        occupancy->most_warps = multiprocessor.lanes / kWarpLanes;
        return true;
    }
    return false;
}

}  // namespace rfkernels::emulation
