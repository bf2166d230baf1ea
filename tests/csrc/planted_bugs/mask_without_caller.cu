#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// All lanes vote, the mask names half of them.
__global__ void mask_without_caller_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    output[lane] = static_cast<int>(__ballot_sync(faulty ? 0x0000FFFFU : 0xFFFFFFFFU, input[lane] % 2));
}

}  // namespace

namespace planted {
bool mask_without_caller(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(mask_without_caller_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
