#pragma once

// How a launch reaches a device. Plain data and functions that are no templates: the kernels' files, compiled with the
// emulation's hooks, must share no code with the rest.

#include <cstddef>
#include <cstdint>

#include "rfkernels/tensor.h"

namespace rfkernels {

struct LaunchExtent {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;
};

struct LaunchShape {
    LaunchExtent grid;
    LaunchExtent block;
    std::size_t dynamic_shared_bytes = 0;
};

namespace cuda {
/// `arguments` are the addresses of the kernel's arguments, which are copied.
bool enqueue_launch(const char* name, const void* kernel, const LaunchShape& shape, void** arguments, Stream stream);
}  // namespace cuda

namespace emulated {
/// `call(arguments)` is the kernel as one lane; the arguments are copied.
bool enqueue_launch(const char* name, const LaunchShape& shape, void (*call)(const void*), const void* arguments,
                    std::size_t argument_bytes, Stream stream);
}  // namespace emulated

}  // namespace rfkernels
