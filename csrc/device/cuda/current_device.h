#pragma once

#include "rfkernels/status.h"

namespace rfkernels::cuda {

/// For as long as it lives, a GPU is the one that this thread's calls of the CUDA runtime are about, and none of them
/// ends, or is refused for, a capture that another thread is in the middle of: torch captures in the mode in which even
/// a cudaMalloc of ours would. In cuda_device.cpp.
///
/// A thread that had no context has none afterwards. cudaSetDevice would make one, of whichever device the runtime
/// takes by itself: a process that uses cuda:1 alone would hold some hundred megabytes of cuda:0.
class CurrentDevice {
  public:
    explicit CurrentDevice(int ordinal);
    ~CurrentDevice();
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    const Status& status() const { return status_; }

  private:
    void* context_before_ = nullptr;  ///< a CUcontext; null: none
    bool changed_ = false;
    int captures_before_ = 0;  ///< a CUstreamCaptureMode
    bool relaxed_ = false;
    Status status_;
};

}  // namespace rfkernels::cuda
