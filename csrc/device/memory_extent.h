#pragma once

// Whether memory that an op writes lies apart from what it reads.

#include <cstdint>
#include <string>

#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// The bytes [begin, end) of memory of the caller's, from its first to its last.
struct MemoryExtent {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;

    MemoryExtent() = default;
    MemoryExtent(const void* data, std::uintptr_t bytes)
        : begin(reinterpret_cast<std::uintptr_t>(data)), end(begin + bytes) {}

    /// Of a tensor whose rank is at most kMaxRank; strides may be negative.
    explicit MemoryExtent(const TensorView& view) : MemoryExtent(view.data, 0) {
        for (int axis = 0; axis < view.rank; ++axis) {
            if (view.shape[axis] < 1) {
                end = begin;
                return;
            }
            // Unsigned: absurd strides wrap around, which is defined.
            const std::uintptr_t span =
                static_cast<std::uintptr_t>(view.shape[axis] - 1) * static_cast<std::uintptr_t>(view.strides[axis]);
            (view.strides[axis] < 0 ? begin : end) += span;
        }
        end += view.dtype == DataType::kUint8                                       ? 1
               : view.dtype == DataType::kInt32 || view.dtype == DataType::kFloat32 ? 4
                                                                                    : 2;
    }

    /// Whether a byte is in both.
    bool meets(const MemoryExtent& other) const {
        return begin < end && other.begin < other.end && begin < other.end && other.begin < end;
    }
};

/// Memory with the name that messages give it.
struct NamedExtent {
    std::string name;
    MemoryExtent extent;
};

inline Status check_apart(const NamedExtent& written, const NamedExtent& other) {
    if (!written.extent.meets(other.extent)) return Status();
    return Status::invalid_argument(written.name + " overlaps " + other.name + "; give it memory of its own");
}

}  // namespace rfkernels
