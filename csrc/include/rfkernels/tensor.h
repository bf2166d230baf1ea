#pragma once

#include <array>
#include <cstdint>

namespace rfkernels {

enum class DataType : std::uint8_t { kUint8, kInt32, kFloat16, kBfloat16, kFloat32 };

constexpr int kMaxRank = 5;

/// Memory of the caller's, seen as a tensor. Owns nothing.
struct TensorView {
    void* data = nullptr;
    DataType dtype = DataType::kFloat32;
    int rank = 0;
    std::array<std::int64_t, kMaxRank> shape{};
    std::array<std::int64_t, kMaxRank> strides{};  ///< in bytes, as NumPy has them
};

/// The queue a call is put on: a cudaStream_t on a GPU, nullptr on the CPU (where a call returns when it is done).
using Stream = void*;

}  // namespace rfkernels
