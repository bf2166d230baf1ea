#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Two branches with a barrier each: hardware may take them for one.
__global__ void barriers_apart_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    if (faulty && lane >= 32) {
        output[lane] = input[lane];
        __syncthreads();
    } else {
        output[lane] = input[lane] + 1;
        __syncthreads();
    }
}

}  // namespace

namespace planted {
bool barriers_apart(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(barriers_apart_kernel, (LaunchShape{{}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
