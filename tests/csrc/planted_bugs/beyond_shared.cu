#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// The last lane has no neighbour.
__global__ void beyond_shared_kernel(const int* input, int* output, bool faulty) {
    RFK_SHARED(int, numbers, 64);
    RFK_SHARED(int, others, 64);
    const unsigned lane = threadIdx.x;
    numbers[lane] = input[lane];
    others[lane] = input[lane];
    __syncthreads();
    const int* neighbours = numbers;
    output[lane] = neighbours[faulty ? lane + 1 : (lane + 1) % 64] + others[lane];
}

}  // namespace

namespace planted {
bool beyond_shared(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(beyond_shared_kernel, (LaunchShape{{}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
