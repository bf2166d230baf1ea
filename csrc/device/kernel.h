#pragma once

// How a kernel is written, so that nvcc compiles it for GPUs and a host compiler for the emulated device
// (csrc/emulation): the file <op>.cu includes this and plain data, uses CUDA's names, and of its own only what is
// below. No <<<>>>, no cooperative groups, no inline PTX, no static __device__ variables.
//
//   namespace rfkernels::RFK_DEVICE {
//   namespace {
//   __global__ void __launch_bounds__(kBlockLanes) scale(const float* values, float factor, float* results) { ... }
//   }
//   bool launch_scale(const ScaleArguments& arguments, Stream stream) {
//       return RFK_LAUNCH(scale, (LaunchShape{{grid}, {block}, shared_bytes}), stream, values, factor, results);
//   }
//   }

#include <cstddef>
#include <cstdint>

#include "device/launch.h"

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define RFK_DEVICE cuda

/// Before a loop over an array that is to stay in registers, which have no addresses: all of its rounds written out.
#define RFK_UNROLL _Pragma("unroll")

/// `count` elements in the block's shared memory, 16-byte aligned.
#define RFK_SHARED(type, name, count) __shared__ __align__(16) type name[count]
/// All of the shared memory that the launch asks for.
#define RFK_SHARED_DYNAMIC(type, name)                                  \
    extern __shared__ __align__(16) unsigned char rfk_dynamic_shared[]; \
    type* const name = reinterpret_cast<type*>(rfk_dynamic_shared)

namespace rfkernels {
namespace {

/// One load or store of sizeof(Vector) bytes, to whose size the address must be aligned.
template <typename Vector>
__device__ __forceinline__ Vector load_vector(const void* address) {
    return *static_cast<const Vector*>(address);
}
template <typename Vector>
__device__ __forceinline__ void store_vector(void* address, Vector value) {
    *static_cast<Vector*>(address) = value;
}

/// A load that another lane's store may overtake, on purpose; say there why either value will do.
template <typename T>
__device__ __forceinline__ T racy_load(const T* address) {
    return *static_cast<const volatile T*>(address);
}
template <typename T>
__device__ __forceinline__ void racy_store(T* address, T value) {
    *static_cast<volatile T*>(address) = value;
}

template <typename... Parameters, typename... Given>
bool launch_kernel(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream,
                   const Given&... given) {
    static_assert(sizeof...(Parameters) == sizeof...(Given), "one argument for each of the kernel's parameters");
    static_assert(sizeof...(Parameters) > 0, "a kernel without parameters does nothing");
    return [&](Parameters... arguments) {
        void* addresses[] = {static_cast<void*>(&arguments)...};
        return cuda::enqueue_launch(name, reinterpret_cast<const void*>(kernel), shape, addresses, stream);
    }(static_cast<Parameters>(given)...);
}

}  // namespace
}  // namespace rfkernels

#else

#include "emulation/kernel_language.h"

#define RFK_DEVICE emulated
#define RFK_UNROLL

#define RFK_SHARED(type, name, count)                  \
    static const char name##_tag = 0;                  \
    type(&name)[count] = *static_cast<type(*)[count]>( \
        ::rfkernels::emulation::lane::shared_array(&name##_tag, #name, sizeof(type) * (count)))
#define RFK_SHARED_DYNAMIC(type, name) \
    type* const name = static_cast<type*>(::rfkernels::emulation::lane::dynamic_shared())

namespace rfkernels {
namespace {

template <typename Vector>
__forceinline__ Vector load_vector(const void* address) {
    static_assert(sizeof(Vector) <= 16, "no GPU of these moves more at once");
    Vector value;
    emulation::lane::load_vector(address, &value, sizeof(value));
    return value;
}
template <typename Vector>
__forceinline__ void store_vector(void* address, Vector value) {
    static_assert(sizeof(Vector) <= 16, "no GPU of these moves more at once");
    emulation::lane::store_vector(address, &value, sizeof(value));
}

template <typename T>
__forceinline__ T racy_load(const T* address) {
    return *static_cast<const volatile T*>(address);
}
template <typename T>
__forceinline__ void racy_store(T* address, T value) {
    *static_cast<volatile T*>(address) = value;
}

// The arguments of a launch, copied as CUDA copies them.
template <typename... Parameters>
struct PackedArguments;
template <>
struct PackedArguments<> {
    template <typename Kernel, typename... Arguments>
    void call(Kernel kernel, const Arguments&... arguments) const {
        kernel(arguments...);
    }
};
template <typename First, typename... Rest>
struct PackedArguments<First, Rest...> {
    First first;
    PackedArguments<Rest...> rest;
    template <typename Kernel, typename... Arguments>
    void call(Kernel kernel, const Arguments&... arguments) const {
        rest.call(kernel, arguments..., first);
    }
};

inline void pack(PackedArguments<>*) {}
template <typename First, typename... Rest>
void pack(PackedArguments<First, Rest...>* packed, First first, Rest... rest) {
    packed->first = first;
    pack(&packed->rest, rest...);
}

template <typename... Parameters, typename... Given>
bool launch_kernel(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream,
                   const Given&... given) {
    static_assert(sizeof...(Parameters) == sizeof...(Given), "one argument for each of the kernel's parameters");
    struct Call {
        void (*kernel)(Parameters...);
        PackedArguments<Parameters...> arguments;
    };
    Call call{kernel, {}};
    pack(&call.arguments, static_cast<Parameters>(given)...);
    return emulated::enqueue_launch(
        name, shape,
        [](const void* packed) {
            const Call* made = static_cast<const Call*>(packed);
            made->arguments.call(made->kernel);
        },
        &call, sizeof(call), stream);
}

}  // namespace
}  // namespace rfkernels

#endif

/// Puts a kernel on a stream; false where that failed, and `take_launch_error` says why.
#define RFK_LAUNCH(kernel, shape, stream, ...) ::rfkernels::launch_kernel(#kernel, kernel, shape, stream, __VA_ARGS__)
