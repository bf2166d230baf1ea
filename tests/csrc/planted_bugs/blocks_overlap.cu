#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Each block writes one number more than its share, which is the next block's first.
__global__ void blocks_overlap_kernel(const int* input, int* output, bool faulty) {
    const unsigned first = blockIdx.x * 64;
    const unsigned count = faulty ? 65 : 64;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) output[first + i] = input[i];
}

}  // namespace

namespace planted {
bool blocks_overlap(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(blocks_overlap_kernel, (LaunchShape{{4}, {64}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
