#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// The lower half shuffles among itself, and asks a lane of the upper half.
__global__ void shuffle_from_outside_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    if (lane < 16) output[lane] = __shfl_sync(0x0000FFFFU, input[lane], faulty ? 20 : 3);
}

}  // namespace

namespace planted {
bool shuffle_from_outside(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(shuffle_from_outside_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
