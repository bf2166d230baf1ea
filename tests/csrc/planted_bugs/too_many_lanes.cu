#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

__global__ void too_many_lanes_kernel(const int* input, int* output) {
    output[threadIdx.x] = input[threadIdx.x];
}

}  // namespace

namespace planted {
// No GPU has blocks of more than 1024 lanes.
bool too_many_lanes(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(too_many_lanes_kernel, (LaunchShape{{}, {faulty ? 1025U : 1024U}, 0}), bench.stream, bench.input,
                      bench.output);
}
}  // namespace planted

}  // namespace rfkernels
