#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Lanes that name each other with different masks never meet.
__global__ void masks_that_differ_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    const unsigned mask = faulty && lane >= 16 ? 0xFFFFFF00U : 0xFFFFFFFFU;
    output[lane] = static_cast<int>(__ballot_sync(mask, input[lane] % 2));
}

}  // namespace

namespace planted {
bool masks_that_differ(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(masks_that_differ_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
