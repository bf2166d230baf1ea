#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Lanes that took a branch together need not run together.
__global__ void active_mask_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    const bool chosen = input[lane] % 3 == 0;
    const unsigned mask = __ballot_sync(0xFFFFFFFFU, chosen);
    if (chosen) output[lane] = __popc(faulty ? __activemask() : mask);
}

}  // namespace

namespace planted {
bool active_mask(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(active_mask_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output, faulty);
}
}  // namespace planted

}  // namespace rfkernels
