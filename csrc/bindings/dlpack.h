#pragma once

// The layout of DLPack 1.0, by which array libraries hand memory to each other. Written from its specification
// (github.com/dmlc/dlpack, include/dlpack/dlpack.h, Apache-2.0) with names of this house.

#include <cstddef>
#include <cstdint>

namespace rfkernels::dlpack {

constexpr std::uint32_t kMajorVersion = 1;  ///< another one has another layout behind `flags`
constexpr std::uint32_t kMinorVersion = 0;
constexpr std::uint64_t kReadOnly = 1;  ///< of ManagedTensorVersioned::flags

struct Version {
    std::uint32_t major;
    std::uint32_t minor;
};

struct Device {
    std::int32_t type;
    std::int32_t ordinal;
};

struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t rank;
    DataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  ///< in elements; null: C-contiguous
    std::uint64_t byte_offset;
};

/// Before DLPack 1.0: a capsule named "dltensor".
struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor* self);  ///< may be null
};

/// From DLPack 1.0 on: a capsule named "dltensor_versioned".
struct ManagedTensorVersioned {
    Version version;
    void* context;
    void (*deleter)(ManagedTensorVersioned* self);  ///< may be null
    std::uint64_t flags;
    Tensor tensor;
};

static_assert(sizeof(void*) == 8, "the offsets below are those of 64-bit machines");
static_assert(offsetof(Tensor, rank) == 16 && offsetof(Tensor, dtype) == 20 && offsetof(Tensor, shape) == 24 &&
                  offsetof(Tensor, byte_offset) == 40 && sizeof(Tensor) == 48,
              "what other libraries see");
static_assert(offsetof(ManagedTensor, context) == 48 && offsetof(ManagedTensor, deleter) == 56,
              "what other libraries see");
static_assert(offsetof(ManagedTensorVersioned, context) == 8 && offsetof(ManagedTensorVersioned, deleter) == 16 &&
                  offsetof(ManagedTensorVersioned, flags) == 24 && offsetof(ManagedTensorVersioned, tensor) == 32,
              "what other libraries see");

}  // namespace rfkernels::dlpack
