#include "device/kernel.h"
#include "planted_bug.h"

namespace rfkernels {
namespace {

// 16 bytes from an address that is a multiple of 4.
__global__ void misaligned_vector_kernel(const int* input, int* output, bool faulty) {
    const unsigned lane = threadIdx.x;
    const int4 four = load_vector<int4>(input + 4 * lane + (faulty ? 1 : 0));
    output[lane] = four.x + four.y + four.z + four.w;
}

}  // namespace

namespace planted {
bool misaligned_vector(const Workbench& bench, bool faulty) {
    return RFK_LAUNCH(misaligned_vector_kernel, (LaunchShape{{}, {32}, 0}), bench.stream, bench.input, bench.output,
                      faulty);
}
}  // namespace planted

}  // namespace rfkernels
