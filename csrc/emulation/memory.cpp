#include "emulation/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "emulation/shadow.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(address), static_cast<void>(bytes)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(address), static_cast<void>(bytes)
#endif

namespace rfkernels::emulation {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kRedzone = 1024;              // before and after every allocation
constexpr std::size_t kQuarantineBytes = 64 << 20;  // of freed allocations that are still known

std::size_t rounded_up(std::size_t bytes, std::size_t multiple) {
    return (bytes + multiple - 1) / multiple * multiple;
}

}  // namespace

Region::Region() = default;
Region::~Region() = default;

DeviceMemory::~DeviceMemory() {
    for (const auto& region : regions_) {
        ASAN_UNPOISON_MEMORY_REGION(region->begin - kRedzone, region->bytes + 2 * kRedzone);
        std::free(region->begin - kRedzone);
    }
}

void* DeviceMemory::allocate(std::size_t bytes, Region::Kind kind, std::string name) {
    const std::size_t total = rounded_up(bytes, kAlignment) + 2 * kRedzone;
    if (total < bytes) throw std::bad_alloc();
    // Held until the region is in its place: what follows allocates too.
    std::unique_ptr<char, void (*)(void*)> held(static_cast<char*>(std::aligned_alloc(kAlignment, total)), std::free);
    char* const memory = held.get();
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, kPoison, total);
    auto region = std::make_unique<Region>();
    region->kind = kind;
    region->name = std::move(name);
    region->begin = memory + kRedzone;
    region->bytes = bytes;
    if (kind == Region::Kind::kDevice) region->initialised.assign(bytes, false);
    char* begin = region->begin;
    char* const end = region->end();
    const auto place = std::upper_bound(regions_.begin(), regions_.end(), begin,
                                        [](const char* address, const auto& other) { return address < other->begin; });
    regions_.insert(place, std::move(region));
    held.release();
    ASAN_POISON_MEMORY_REGION(memory, kRedzone);
    ASAN_POISON_MEMORY_REGION(end, total - kRedzone - bytes);
    live_bytes_ += bytes;
    return begin;
}

bool DeviceMemory::release(void* address) {
    Region* region = find(address);
    if (region == nullptr) {  // an empty allocation holds no address
        for (const auto& other : regions_) {
            if (other->begin == address && !other->freed) region = other.get();
        }
    }
    if (region == nullptr || region->begin != address || region->freed) return false;
    region->freed = true;
    region->initialised = {};
    region->shadow.reset();
    std::memset(region->begin, kPoison, region->bytes);
    ASAN_POISON_MEMORY_REGION(region->begin, region->bytes);
    live_bytes_ -= region->bytes;
    freed_bytes_ += region->bytes;
    forget_freed(kQuarantineBytes);
    return true;
}

void DeviceMemory::forget_freed(std::size_t keep_bytes) {
    if (freed_bytes_ <= keep_bytes) return;
    const auto gone = [](const auto& region) { return region->freed; };
    for (const auto& region : regions_) {
        if (!gone(region)) continue;
        ASAN_UNPOISON_MEMORY_REGION(region->begin - kRedzone, rounded_up(region->bytes, kAlignment) + 2 * kRedzone);
        std::free(region->begin - kRedzone);
    }
    regions_.erase(std::remove_if(regions_.begin(), regions_.end(), gone), regions_.end());
    freed_bytes_ = 0;
    last_found_ = nullptr;
}

Region* DeviceMemory::find(const void* address, std::size_t slack) {
    const char* byte = static_cast<const char*>(address);
    if (last_found_ != nullptr && last_found_->holds(byte)) return last_found_;
    const auto after = std::upper_bound(regions_.begin(), regions_.end(), byte,
                                        [](const char* wanted, const auto& region) { return wanted < region->begin; });
    Region* below = after == regions_.begin() ? nullptr : std::prev(after)->get();
    if (below != nullptr && byte < below->end() + slack) {
        if (below->holds(byte)) last_found_ = below;
        return below;
    }
    Region* above = after == regions_.end() ? nullptr : after->get();
    return above != nullptr && byte + slack >= above->begin ? above : nullptr;
}

void DeviceMemory::mark_initialised(const void* address, std::size_t bytes) {
    Region* region = find(address);
    if (region == nullptr || region->initialised.empty()) return;
    const std::size_t first = static_cast<std::size_t>(static_cast<const char*>(address) - region->begin);
    const std::size_t last = std::min(region->bytes, first + bytes);
    std::fill(region->initialised.begin() + static_cast<std::ptrdiff_t>(first),
              region->initialised.begin() + static_cast<std::ptrdiff_t>(last), true);
}

std::size_t DeviceMemory::live_count() const {
    return static_cast<std::size_t>(
        std::count_if(regions_.begin(), regions_.end(), [](const auto& region) { return !region->freed; }));
}

SharedMemory::SharedMemory() {
    arena_ = static_cast<char*>(std::aligned_alloc(kAlignment, kArenaBytes));
    if (arena_ == nullptr) throw std::bad_alloc();
}

SharedMemory::~SharedMemory() {
    ASAN_UNPOISON_MEMORY_REGION(arena_, kArenaBytes);
    std::free(arena_);
}

void SharedMemory::clear() {
    used_ = 0;
    bytes_declared_ = 0;
    array_count_ = 0;
    tags_.clear();
    ASAN_POISON_MEMORY_REGION(arena_, kArenaBytes);
}

void* SharedMemory::array(const void* tag, const char* name, std::size_t bytes) {
    for (std::size_t i = 0; i < array_count_; ++i) {
        if (tags_[i] == tag) return arrays_[i]->begin;
    }
    // Every array begins at bank 0, as the first one does on a GPU.
    const std::size_t begin = used_ + kAlignment;
    if (begin + bytes + kAlignment > kArenaBytes) return nullptr;
    if (array_count_ == arrays_.size()) arrays_.push_back(std::make_unique<Region>());
    Region& region = *arrays_[array_count_++];
    tags_.push_back(tag);
    region.kind = Region::Kind::kShared;
    region.name = name;
    region.begin = arena_ + begin;
    region.bytes = bytes;
    region.initialised.assign(bytes, false);
    if (region.shadow != nullptr) region.shadow->clear(bytes);
    ASAN_UNPOISON_MEMORY_REGION(region.begin, bytes);
    std::memset(region.begin, kPoison, bytes);
    used_ = rounded_up(begin + bytes, kAlignment);
    bytes_declared_ += rounded_up(bytes, 16);
    return region.begin;
}

Region* SharedMemory::find(const void* address) {
    for (std::size_t i = 0; i < array_count_; ++i) {
        if (arrays_[i]->holds(address)) return arrays_[i].get();
    }
    return nullptr;
}

}  // namespace rfkernels::emulation
