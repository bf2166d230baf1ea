#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// The array is written anew while slower lanes still read it.
__global__ void reuse_without_barrier_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 256);
    const unsigned lane = threadIdx.x;
    int sum = 0;
    for (int round = 0; round < 4; ++round) {
        numbers[lane] = input[256 * round + lane];
        __syncthreads();
        sum += numbers[255 - lane];
        if (!faulty) __syncthreads();
    }
    output[lane] = sum;
}

}  // namespace

namespace planted {
bool reuse_without_barrier(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(reuse_without_barrier_kernel, (LaunchShape{{}, {256}, 0}), bench.stream, bench.input,
                      bench.output, faulty);
}
}  // namespace planted

}  // namespace rfkernels
