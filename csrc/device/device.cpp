#include "rfkernels/device.h"

#include <utility>

#include "device/guarded.h"
#include "device/launch_error.h"
#include "device/open.h"

namespace rfkernels {
namespace {

thread_local Status last_launch_error;

}  // namespace

const char* name_of(DeviceKind kind) {
    return kind == DeviceKind::kCuda ? "cuda" : "emulated";
}

Status Device::open(DeviceKind kind, int ordinal, std::shared_ptr<Device>* device) {
    return guarded("no memory for a device", [&]() -> Status {
        if (kind == DeviceKind::kEmulated) {
#if defined(RFK_HAS_EMULATION)
            return emulated::open_device(ordinal, device);
#else
            return Status::unavailable(
                "the emulated device is not in this build of rfkernels; build it where CUDA's headers are (GCC or "
                "Clang, Linux)");
#endif
        }
#if defined(RFK_HAS_CUDA)
        return cuda::open_device(ordinal, device);
#else
        return Status::unavailable("CUDA is not in this build of rfkernels; build it where nvcc is");
#endif
    });
}

DeviceCounters Device::counters() const {
    DeviceCounters result;
    result.kernel_launches = counted_.kernel_launches;
    result.graph_launches = counted_.graph_launches;
    result.kernels_in_graphs = counted_.kernels_in_graphs;
    result.synchronizations = counted_.synchronizations;
    result.bytes_to_device = counted_.bytes_to_device;
    result.bytes_to_host = counted_.bytes_to_host;
    return result;
}

Status take_launch_error() {
    return std::exchange(last_launch_error, Status());
}

void keep_launch_error(Status error) {
    last_launch_error = std::move(error);
}

}  // namespace rfkernels
