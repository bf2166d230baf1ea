#include "device/current_context.h"

namespace rfkernels {

Status check_current_context(const CurrentContext& context) {
    if (context.current == nullptr || context.current == context.primary) return Status();
    return Status::invalid_argument(
        "this thread's current CUDA context is not the primary one of cuda:" + std::to_string(context.ordinal) +
        ", in which rfkernels works, as the CUDA runtime, torch and CuPy do; with PyCUDA import pycuda.autoprimaryctx "
        "in place of pycuda.autoinit, or pop the context before the call");
}

}  // namespace rfkernels
