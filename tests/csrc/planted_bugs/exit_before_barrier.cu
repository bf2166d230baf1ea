#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Lanes without work return, as lanes before a barrier must not.
__global__ void exit_before_barrier_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 64);
    const unsigned lane = threadIdx.x;
    if (faulty && lane >= 50) return;
    numbers[lane] = input[lane];
    __syncthreads();
    if (lane < 50) output[lane] = numbers[49 - lane];
}

}  // namespace

namespace planted {
bool exit_before_barrier(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(exit_before_barrier_kernel, (LaunchShape{{}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
