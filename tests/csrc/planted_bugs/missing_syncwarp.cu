#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Lanes of a warp do not run in step: what one writes the other sees after __syncwarp.
__global__ void missing_syncwarp_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 32);
    const unsigned lane = threadIdx.x;
    numbers[lane] = input[lane];
    if (!faulty) __syncwarp();
    output[lane] = numbers[31 - lane];
}

}  // namespace

namespace planted {
bool missing_syncwarp(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(missing_syncwarp_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
