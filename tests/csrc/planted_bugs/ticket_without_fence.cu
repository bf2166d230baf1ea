#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// The last block to be done adds up what all have written; without fences it may not see it.
__global__ void ticket_without_fence_kernel(const int* input, int* output, int* counter, bool faulty) {
    RFK_SHARED(bool, is_last, 1);
    const unsigned lane = threadIdx.x;
    output[blockIdx.x * 64 + lane] = input[lane];
    __syncthreads();
    if (lane == 0) {
        if (!faulty) __threadfence();
        is_last[0] = atomicAdd(counter, 1) == static_cast<int>(gridDim.x) - 1;
        if (!faulty) __threadfence();
    }
    __syncthreads();
    if (!is_last[0]) return;
    int sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) sum += output[block * 64 + lane];
    output[1024 + lane] = sum;
}

}  // namespace

namespace planted {
bool ticket_without_fence(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(ticket_without_fence_kernel, (LaunchShape{{8}, {64}, 0}), bench.stream, bench.input, bench.output,
                      bench.counter, faulty);
}
}  // namespace planted

}  // namespace rfkernels
