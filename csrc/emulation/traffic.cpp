#include "emulation/traffic.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace rfkernels::emulation {
namespace {

constexpr std::size_t kBanks = 32;
constexpr std::size_t kBankBytes = 4;

/// Units of memory that a request touches, each once. No access is wider than 16 bytes.
template <std::size_t kUnitBytes>
class Units {
  public:
    void add(std::uintptr_t address, std::size_t bytes) {
        for (std::uintptr_t unit = address / kUnitBytes; unit <= (address + bytes - 1) / kUnitBytes; ++unit) {
            units_[count_++] = unit;
        }
    }
    void keep_distinct() {
        std::sort(units_.begin(), units_.begin() + count_);
        count_ = std::unique(units_.begin(), units_.begin() + count_) - units_.begin();
    }
    std::size_t count() const { return static_cast<std::size_t>(count_); }
    const std::uintptr_t* begin() const { return units_.data(); }
    const std::uintptr_t* end() const { return units_.data() + count_; }

  private:
    std::array<std::uintptr_t, kWarpLanes * (16 / kUnitBytes + 2)> units_;
    std::ptrdiff_t count_ = 0;
};

}  // namespace

std::uint64_t Traffic::moved_bytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, part] : moved) total += part.read + part.written;
    return total;
}

void TrafficCounter::start_block(std::size_t warps) {
    warps_.resize(warps);
}

void TrafficCounter::add(std::size_t warp, int lane, Kind kind, std::uintptr_t address, std::size_t bytes,
                         const void* place) {
    Place& here = warps_[warp].places[static_cast<int>(kind)][place];
    const std::uint32_t repetition = here.repetitions[lane]++;
    if (repetition == here.requests.size()) here.requests.emplace_back();
    Request& request = here.requests[repetition];
    request.lanes |= 1U << lane;
    request.bytes[lane] = static_cast<std::uint8_t>(bytes);
    request.addresses[lane] = address;
}

void TrafficCounter::finish_block(Traffic* traffic) {
    for (Warp& warp : warps_) {
        for (int kind = 0; kind < 4; ++kind) {
            const bool is_load = static_cast<Kind>(kind) == Kind::kGlobalLoad;
            const bool is_global = is_load || static_cast<Kind>(kind) == Kind::kGlobalStore;
            for (auto& [place, here] : warp.places[kind]) {
                for (const Request& request : here.requests) {
                    if (is_global) {
                        count_global(request, is_load ? &traffic->global_loads : &traffic->global_stores);
                    } else {
                        count_shared(request, traffic);
                    }
                }
                // The next block will come by the same places.
                here.requests.clear();
                here.repetitions.fill(0);
            }
        }
    }
}

void TrafficCounter::count_global(const Request& request, RequestCounts* counts) {
    Units<kSectorBytes> sectors;
    for (int lane = 0; lane < kWarpLanes; ++lane) {
        if ((request.lanes >> lane & 1U) == 0) continue;
        sectors.add(request.addresses[lane], request.bytes[lane]);
        counts->bytes += request.bytes[lane];
        ++counts->lanes;
    }
    sectors.keep_distinct();
    ++counts->requests;
    counts->sectors += sectors.count();
    counts->most_sectors = std::max<std::uint64_t>(counts->most_sectors, sectors.count());
}

void TrafficCounter::count_shared(const Request& request, Traffic* traffic) {
    // Wider accesses are served in parts of a warp that ask for 128 bytes: 16 lanes of 8 bytes, 8 lanes of 16.
    std::size_t bytes = kBankBytes;
    for (int lane = 0; lane < kWarpLanes; ++lane) {
        if ((request.lanes >> lane & 1U) != 0) bytes = std::max<std::size_t>(bytes, request.bytes[lane]);
    }
    const int lanes_at_once = static_cast<int>(128 / bytes);
    std::uint64_t wavefronts = 0;
    std::uint64_t needed = 0;
    for (int first_lane = 0; first_lane < kWarpLanes; first_lane += lanes_at_once) {
        Units<kBankBytes> words;
        for (int lane = first_lane; lane < first_lane + lanes_at_once && lane < kWarpLanes; ++lane) {
            if ((request.lanes >> lane & 1U) != 0) words.add(request.addresses[lane], request.bytes[lane]);
        }
        if (words.count() == 0) continue;
        words.keep_distinct();
        std::array<std::uint64_t, kBanks> words_of_bank{};
        for (const std::uintptr_t word : words) ++words_of_bank[word % kBanks];
        wavefronts += *std::max_element(words_of_bank.begin(), words_of_bank.end());
        ++needed;
    }
    ++traffic->shared_requests;
    traffic->shared_wavefronts += wavefronts;
    traffic->bank_conflicts += wavefronts - needed;
}

}  // namespace rfkernels::emulation
