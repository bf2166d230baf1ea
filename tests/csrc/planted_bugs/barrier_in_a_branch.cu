#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// A barrier that only the first half reaches; the others wait for their warp.
__global__ void barrier_in_a_branch_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    if (faulty && lane < 32) {
        __syncwarp();
        if (lane == 0) __syncthreads();
        __syncwarp();
    } else {
        __syncthreads();
    }
    output[lane] = input[lane];
}

}  // namespace

namespace planted {
bool barrier_in_a_branch(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(barrier_in_a_branch_kernel, (LaunchShape{{}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
