#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace rfkernels {

/// Memory for one call: the longest image's tables and rows, in one block. What is taken is 64-byte aligned.
class Scratch {
  public:
    static std::int64_t padded(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

    bool allocate(std::int64_t bytes) {
        memory_.reset(static_cast<unsigned char*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(bytes))));
        used_ = 0;
        return memory_ != nullptr;
    }
    template <typename Element>
    Element* take(std::int64_t count) {
        Element* result = reinterpret_cast<Element*>(memory_.get() + used_);
        used_ += padded(count * static_cast<std::int64_t>(sizeof(Element)));
        return result;
    }
    void reset() { used_ = 0; }

  private:
    static constexpr std::int64_t kAlignment = 64;

    struct Free {
        void operator()(unsigned char* memory) const { std::free(memory); }
    };
    std::unique_ptr<unsigned char, Free> memory_;
    std::int64_t used_ = 0;
};

}  // namespace rfkernels
