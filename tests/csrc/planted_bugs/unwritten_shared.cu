#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Nobody writes the upper half; what is there is what the last block left.
__global__ void unwritten_shared_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 64);
    const unsigned lane = threadIdx.x;
    if (!faulty || lane < 32) numbers[lane] = input[lane];
    __syncthreads();
    output[lane] = numbers[63 - lane];
}

}  // namespace

namespace planted {
bool unwritten_shared(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(unwritten_shared_kernel, (LaunchShape{{}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
