#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// The last lanes have returned, and the mask still names them.
__global__ void mask_with_exited_lane_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    if (lane >= 20) return;
    const unsigned mask = faulty ? 0xFFFFFFFFU : (1U << 20) - 1U;
    output[lane] = static_cast<int>(__ballot_sync(mask, input[lane] % 2));
}

}  // namespace

namespace planted {
bool mask_with_exited_lane(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(mask_with_exited_lane_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
