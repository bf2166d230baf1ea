#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// Numbers that no copy and no kernel has written.
__global__ void unwritten_global_kernel(const int* input, int* output) {
    output[threadIdx.x] = input[threadIdx.x];
}

}  // namespace

namespace planted {
bool unwritten_global(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(unwritten_global_kernel, (LaunchShape{{}, {32}, 0}), bench.stream,
                      faulty ? bench.unwritten : bench.input, bench.output);
}
}  // namespace planted

}  // namespace rfkernels
