#pragma once

#include <memory>

#include "rfkernels/device.h"

namespace rfkernels {

namespace cuda {
Status open_device(int ordinal, std::shared_ptr<Device>* device);
}
namespace emulated {
Status open_device(int ordinal, std::shared_ptr<Device>* device);
}

}  // namespace rfkernels
