#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Each lane reads its neighbour's number; without the barrier it may not be there yet.
__global__ void missing_barrier_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 256);
    const unsigned lane = threadIdx.x;
    numbers[lane] = input[lane];
    if (!faulty) __syncthreads();
    output[lane] = numbers[(lane + 32) % 256];
}

}  // namespace

namespace planted {
bool missing_barrier(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(missing_barrier_kernel, (LaunchShape{{}, {256}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
