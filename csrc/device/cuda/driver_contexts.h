#pragma once

// The driver's view of contexts, which the runtime does not give. Nothing links libcuda: its functions are asked for
// through the runtime, in the versions that are written here.

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <string>

#include "device/current_context.h"

namespace rfkernels::cuda {

class DriverContexts {
  public:
    /// Looks the functions up; to be called once, after a call of the runtime has found a device.
    Status open() {
        Status status = find("cuCtxGetCurrent", &get_current_);
        if (status.ok()) status = find("cuCtxSetCurrent", &set_current_);
        if (status.ok()) status = find("cuDeviceGet", &device_get_);
        if (status.ok()) status = find("cuThreadExchangeStreamCaptureMode", &exchange_capture_mode_);
        if (status.ok()) status = find("cuCtxGetDevice", &get_device_);
        if (status.ok()) status = find("cuDevicePrimaryCtxGetState", &primary_state_);
        if (status.ok()) status = find("cuDevicePrimaryCtxRetain", &primary_retain_);
        if (status.ok()) status = find("cuDevicePrimaryCtxRelease", &primary_release_);
        return status;
    }

    /// Whether this thread's current context is one that the runtime works in as we do.
    Status check() {
        CUcontext current = nullptr;
        Status status = checked(get_current_(&current), "cuCtxGetCurrent");
        // Asked before every call of the runtime, so the last answer is kept: a primary context stays the same one
        // until somebody resets its device, which ends all that was made in it.
        if (!status.ok() || current == nullptr || current == last_primary_.load(std::memory_order_relaxed)) {
            return status;
        }
        CUdevice device = 0;
        status = checked(get_device_(&device), "cuCtxGetDevice");
        if (!status.ok()) return status;
        CUcontext primary = nullptr;
        status = primary_of(device, &primary);
        if (!status.ok()) return status;
        status = check_current_context({current, static_cast<int>(device), primary});
        if (status.ok()) last_primary_.store(current, std::memory_order_relaxed);
        return status;
    }

    /// Makes the primary context of a device this thread's current one; `before` is what was, null where there was
    /// none.
    Status enter(int ordinal, void** before) {
        CUcontext current = nullptr;
        Status status = checked(get_current_(&current), "cuCtxGetCurrent");
        CUdevice device = 0;
        if (status.ok()) status = checked(device_get_(&device, ordinal), "cuDeviceGet");
        CUcontext primary = nullptr;
        if (status.ok()) status = primary_of(device, &primary);
        // Nobody has used the device yet. It is kept for the rest of the process, as the runtime keeps those it makes.
        if (status.ok() && primary == nullptr) {
            status = checked(primary_retain_(&primary, device), "cuDevicePrimaryCtxRetain");
        }
        if (status.ok()) status = checked(set_current_(primary), "cuCtxSetCurrent");
        if (status.ok()) *before = current;
        return status;
    }
    void leave(void* before) { set_current_(static_cast<CUcontext>(before)); }

    /// This thread's calls neither end captures of other threads nor are refused for them; `before` is how it was. The
    /// runtime's function of this name may set up the runtime first, on a device of its own choice.
    Status relax_captures(int* before) {
        CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
        const Status status = checked(exchange_capture_mode_(&mode), "cuThreadExchangeStreamCaptureMode");
        *before = static_cast<int>(mode);
        return status;
    }
    void restore_captures(int before) {
        CUstreamCaptureMode mode = static_cast<CUstreamCaptureMode>(before);
        exchange_capture_mode_(&mode);
    }

  private:
    template <typename Function>
    static Status find(const char* name, Function** function) {
        void* found = nullptr;
#if CUDART_VERSION >= 12050
        const cudaError_t error =
            cudaGetDriverEntryPointByVersion(name, &found, kDriverVersion, cudaEnableDefault, nullptr);
#else
        const cudaError_t error = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault);
#endif
        if (error != cudaSuccess || found == nullptr) {
            cudaGetLastError();
            return Status::unavailable(std::string("the NVIDIA driver has no ") + name + "; install a newer one");
        }
        *function = reinterpret_cast<Function*>(found);
        return Status();
    }

    static Status checked(CUresult result, const char* call) {
        if (result == CUDA_SUCCESS) return Status();
        return Status::device_error(std::string(call) + " failed with CUresult " + std::to_string(result));
    }

    /// Null where it is not active: it is not made for this question.
    Status primary_of(CUdevice device, CUcontext* primary) const {
        unsigned flags = 0;
        int active = 0;
        Status status = checked(primary_state_(device, &flags, &active), "cuDevicePrimaryCtxGetState");
        if (!status.ok() || active == 0) return status;
        status = checked(primary_retain_(primary, device), "cuDevicePrimaryCtxRetain");
        // It stays what it is as long as whoever made it active keeps it.
        return status.ok() ? checked(primary_release_(device), "cuDevicePrimaryCtxRelease") : status;
    }

    static constexpr unsigned kDriverVersion = 12000;  // of the signatures below

    CUresult(CUDAAPI* get_current_)(CUcontext*) = nullptr;
    CUresult(CUDAAPI* set_current_)(CUcontext) = nullptr;
    CUresult(CUDAAPI* get_device_)(CUdevice*) = nullptr;
    CUresult(CUDAAPI* device_get_)(CUdevice*, int) = nullptr;
    CUresult(CUDAAPI* exchange_capture_mode_)(CUstreamCaptureMode*) = nullptr;
    CUresult(CUDAAPI* primary_state_)(CUdevice, unsigned*, int*) = nullptr;
    CUresult(CUDAAPI* primary_retain_)(CUcontext*, CUdevice) = nullptr;
    CUresult(CUDAAPI* primary_release_)(CUdevice) = nullptr;
    std::atomic<CUcontext> last_primary_{nullptr};
};

}  // namespace rfkernels::cuda
