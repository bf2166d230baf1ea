#pragma once

#include "rfkernels/status.h"

namespace rfkernels::cuda {

/// For as long as it lives, a GPU is the one that this thread's calls of the CUDA runtime are about. In
/// cuda_device.cpp.
class CurrentDevice {
  public:
    explicit CurrentDevice(int ordinal);
    ~CurrentDevice();
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    const Status& status() const { return status_; }

  private:
    int before_ = 0;
    bool changed_ = false;
    Status status_;
};

}  // namespace rfkernels::cuda
