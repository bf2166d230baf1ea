#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

__global__ void too_much_shared_kernel(const int* input, int* output) {
    RFK_SHARED_DYNAMIC(int, numbers);
    const unsigned lane = threadIdx.x;
    numbers[lane] = input[lane];
    output[lane] = numbers[lane];
}

}  // namespace

namespace planted {
// More than the 99 KB that a block may have on most GPUs.
bool too_much_shared(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(too_much_shared_kernel, (LaunchShape{{}, {32}, faulty ? std::size_t{100} << 10 : 4096}),
                      bench.stream, bench.input, bench.output);
}
}  // namespace planted

}  // namespace rfkernels
