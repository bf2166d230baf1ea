#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Memory that was given back.
__global__ void after_release_kernel(const int* input, int* output) {
    output[threadIdx.x] = input[threadIdx.x];
}

}  // namespace

namespace planted {
bool after_release(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(after_release_kernel, (LaunchShape{{}, {32}, 0}), bench.stream,
                      faulty ? bench.released : bench.input, bench.output);
}
}  // namespace planted

}  // namespace rfkernels
