// What a build for CUDA does on a machine without a GPU or a driver: it loads, and says so. With one, it opens it.

#include <cstdio>
#include <cstring>
#include <memory>

#include "check.h"
#include "rfkernels/device.h"

using namespace rfkernels;

int main() {
    std::shared_ptr<Device> device;
    const Status status = Device::open(DeviceKind::kCuda, 0, &device);
    if (status.ok()) {
        std::printf("CUDA device 0: %s\n", device->name().c_str());
        CHECK(!Device::open(DeviceKind::kCuda, 4096, &device).ok());
        return 0;
    }
    std::printf("%s\n", status.message());
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(std::strstr(status.message(), "there is no CUDA device") != nullptr);
    return 0;
}
