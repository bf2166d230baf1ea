#pragma once

// The emulated device's memory, and the shared memory of a block.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rfkernels::emulation {

/// What memory holds that nobody has written.
constexpr int kPoison = 0xCB;

/// Bytes that kernels may touch, and what is known of each. 32 bytes are a sector, what a GPU's memory moves at a time.
struct Region {
    enum class Kind { kDevice, kPinnedHost, kShared };
    Kind kind = Kind::kDevice;
    std::string name;
    char* begin = nullptr;
    std::size_t bytes = 0;
    bool freed = false;
    std::vector<bool> initialised;          ///< for each byte; empty where all are
    std::unique_ptr<struct Shadow> shadow;  ///< who touched what; made by the race detector
    std::vector<bool> sectors_read;         ///< of a launch whose traffic is counted
    std::vector<bool> sectors_written;

    Region();
    ~Region();
    char* end() const { return begin + bytes; }
    bool holds(const void* address) const { return address >= begin && address < end(); }
};

/// Allocations of the emulated device and pinned host memory. Freed ones are kept for a while, so that a use of them
/// is reported as such.
class DeviceMemory {
  public:
    ~DeviceMemory();
    /// 256-byte aligned, poisoned. Throws std::bad_alloc.
    void* allocate(std::size_t bytes, Region::Kind kind, std::string name);
    /// False where `address` is no allocation's begin.
    bool release(void* address);
    /// The one that holds the address, or that lies nearest below it within `slack` bytes; null where there is none.
    Region* find(const void* address, std::size_t slack = 0);
    /// Marks bytes as written: by a copy, or by a library that works on the device.
    void mark_initialised(const void* address, std::size_t bytes);
    std::size_t live_bytes() const { return live_bytes_; }
    std::size_t live_count() const;
    const std::vector<std::unique_ptr<Region>>& regions() const { return regions_; }

  private:
    void forget_freed(std::size_t keep_bytes);

    std::vector<std::unique_ptr<Region>> regions_;  ///< by address
    Region* last_found_ = nullptr;
    std::size_t live_bytes_ = 0;
    std::size_t freed_bytes_ = 0;
};

/// One block's shared memory: an array for each declaration, with bytes between them that nobody may touch.
class SharedMemory {
  public:
    SharedMemory();
    ~SharedMemory();
    /// For a new block: no arrays.
    void clear();
    /// The array that is declared at `tag`, poisoned where this is the first lane to come by.
    void* array(const void* tag, const char* name, std::size_t bytes);
    Region* find(const void* address);
    bool lies_in_arena(const void* address) const { return address >= arena_ && address < arena_ + kArenaBytes; }
    std::size_t offset_of(const void* address) const {
        return static_cast<std::size_t>(static_cast<const char*>(address) - arena_);
    }
    std::size_t bytes_declared() const { return bytes_declared_; }
    std::size_t array_count() const { return array_count_; }
    Region& at(std::size_t index) { return *arrays_[index]; }

    static constexpr std::size_t kArenaBytes = 512 << 10;

  private:
    char* arena_ = nullptr;
    std::size_t used_ = 0;
    std::size_t bytes_declared_ = 0;
    std::size_t array_count_ = 0;
    std::vector<const void*> tags_;
    std::vector<std::unique_ptr<Region>> arrays_;
};

}  // namespace rfkernels::emulation
