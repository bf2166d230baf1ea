#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Waits for one more block to arrive than there are.
__global__ void spinning_kernel(const int* input, int* output, bool faulty) {
    atomicAdd(&output[1], input[1]);
    const int expected = faulty ? static_cast<int>(gridDim.x) + 1 : 1;
    while (atomicAdd(&output[1], 0) < expected) {
    }
}

}  // namespace

namespace planted {
bool spinning(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(spinning_kernel, (LaunchShape{{2}, {1}, 0}), bench.stream, bench.input, bench.output, faulty);
}
}  // namespace planted

}  // namespace rfkernels
