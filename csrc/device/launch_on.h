#pragma once

// From an op to the kernels of the device that it was given.

#include <string>

#include "device/cuda/current_device.h"
#include "device/launch_error.h"
#include "rfkernels/device.h"

namespace rfkernels {

#if defined(RFK_HAS_EMULATION)
constexpr bool kHasEmulation = true;
#else
constexpr bool kHasEmulation = false;
#endif
#if defined(RFK_HAS_CUDA)
constexpr bool kHasCuda = true;
#else
constexpr bool kHasCuda = false;
#endif

}  // namespace rfkernels

/// The Status of a launch: RFK_LAUNCH_ON(device, "nms", kernels::launch_nms(arguments, stream)), where `kernels` is the
/// namespace of the device's kernels and the expression says whether they were put on the stream. What this build does
/// not have is checked by the compiler and not linked.
#define RFK_LAUNCH_ON(device, op, ...)                                                                            \
    [&]() -> ::rfkernels::Status {                                                                                \
        if constexpr (::rfkernels::kHasEmulation) {                                                               \
            namespace kernels = ::rfkernels::emulated;                                                            \
            if ((device).kind() == ::rfkernels::DeviceKind::kEmulated) {                                          \
                return ::rfkernels::launch_status(__VA_ARGS__);                                                   \
            }                                                                                                     \
        }                                                                                                         \
        if constexpr (::rfkernels::kHasCuda) {                                                                    \
            namespace kernels = ::rfkernels::cuda;                                                                \
            if ((device).kind() == ::rfkernels::DeviceKind::kCuda) {                                              \
                const ::rfkernels::cuda::CurrentDevice current((device).ordinal());                               \
                return current.status().ok() ? ::rfkernels::launch_status(__VA_ARGS__) : current.status();        \
            }                                                                                                     \
        }                                                                                                         \
        return ::rfkernels::Status::unavailable(std::string(op) + ": this build has no kernels for the device " + \
                                                ::rfkernels::name_of((device).kind()));                           \
    }()
