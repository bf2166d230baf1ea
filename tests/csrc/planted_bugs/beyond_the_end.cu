#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// 4096 numbers, and one more.
__global__ void beyond_the_end_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    output[lane] = input[4095 - 31 + lane + (faulty ? 1 : 0)];
}

}  // namespace

namespace planted {
bool beyond_the_end(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(beyond_the_end_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
