#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Many lanes add to one number in two steps.
__global__ void lost_update_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    if (faulty) {
        output[0] = output[0] + input[lane];
    } else {
        atomicAdd(&output[0], input[lane]);
    }
}

}  // namespace

namespace planted {
bool lost_update(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(lost_update_kernel, (LaunchShape{{}, {128}, 0}), bench.stream, bench.input, bench.output, faulty);
}
}  // namespace planted

}  // namespace rfkernels
