#pragma once

// A thread that has a CUDA context of its own making (pycuda.autoinit does) would have the CUDA runtime work in that
// one, where memory, streams and kernels of the primary context are not known.

#include <string>

#include "rfkernels/status.h"

namespace rfkernels {

/// What the driver says of the calling thread's current context.
struct CurrentContext {
    const void* current = nullptr;  ///< null: none, and the CUDA runtime takes the primary one
    int ordinal = 0;                ///< of the current one's device
    const void* primary = nullptr;  ///< of that device; null: not active, so that no context is it
};

/// Ok where nothing is current, or the primary context of any device; the runtime changes from one of those to another.
Status check_current_context(const CurrentContext& context);

}  // namespace rfkernels
