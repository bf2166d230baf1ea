#include "emulation/traffic.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace rfkernels::emulation {
namespace {

constexpr std::size_t kBanks = 32;
constexpr std::size_t kBankBytes = 4;

template <typename T>
void keep_distinct(std::vector<T>* values) {
    std::sort(values->begin(), values->end());
    values->erase(std::unique(values->begin(), values->end()), values->end());
}

}  // namespace

std::uint64_t Traffic::moved_bytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, part] : moved) total += part.read + part.written;
    return total;
}

void TrafficCounter::start_block(std::size_t warps) {
    warps_.resize(warps);
    for (auto& entries : warps_) entries.clear();
}

void TrafficCounter::add(std::size_t warp, int lane, Kind kind, std::uintptr_t address, std::size_t bytes,
                         const void* place) {
    warps_[warp].push_back(
        Entry{place, address, 0, static_cast<std::uint8_t>(lane), static_cast<std::uint8_t>(bytes), kind});
}

void TrafficCounter::finish_block(Traffic* traffic) {
    for (auto& entries : warps_) {
        const auto by_lane = [](const Entry& entry) { return std::make_tuple(entry.place, entry.kind, entry.lane); };
        std::stable_sort(entries.begin(), entries.end(),
                         [&](const Entry& a, const Entry& b) { return by_lane(a) < by_lane(b); });
        for (std::size_t i = 1; i < entries.size(); ++i) {
            const bool again = by_lane(entries[i]) == by_lane(entries[i - 1]);
            entries[i].repetition = again ? entries[i - 1].repetition + 1 : 0;
        }
        const auto by_request = [](const Entry& entry) {
            return std::make_tuple(entry.place, entry.kind, entry.repetition);
        };
        std::stable_sort(entries.begin(), entries.end(),
                         [&](const Entry& a, const Entry& b) { return by_request(a) < by_request(b); });
        for (std::size_t begin = 0; begin < entries.size();) {
            std::size_t end = begin + 1;
            while (end < entries.size() && by_request(entries[end]) == by_request(entries[begin])) ++end;
            count_request(entries.data() + begin, entries.data() + end, traffic);
            begin = end;
        }
        entries.clear();
    }
}

void TrafficCounter::count_request(const Entry* begin, const Entry* end, Traffic* traffic) {
    const Kind kind = begin->kind;
    if (kind == Kind::kGlobalLoad || kind == Kind::kGlobalStore) {
        RequestCounts& counts = kind == Kind::kGlobalLoad ? traffic->global_loads : traffic->global_stores;
        std::vector<std::uintptr_t> sectors;
        for (const Entry* entry = begin; entry != end; ++entry) {
            for (std::uintptr_t sector = entry->address / kSectorBytes;
                 sector <= (entry->address + entry->bytes - 1) / kSectorBytes; ++sector) {
                sectors.push_back(sector);
            }
            counts.bytes += entry->bytes;
        }
        keep_distinct(&sectors);
        ++counts.requests;
        counts.sectors += sectors.size();
        counts.most_sectors = std::max<std::uint64_t>(counts.most_sectors, sectors.size());
        counts.lanes += static_cast<std::uint64_t>(end - begin);
        return;
    }
    // Wider accesses are served in parts of a warp that ask for 128 bytes: 16 lanes of 8 bytes, 8 lanes of 16.
    const std::size_t lanes_at_once = 128 / std::max<std::size_t>(kBankBytes, begin->bytes);
    std::uint64_t wavefronts = 0;
    std::uint64_t needed = 0;
    for (std::size_t first_lane = 0; first_lane < 32; first_lane += lanes_at_once) {
        std::vector<std::uintptr_t> words;
        for (const Entry* entry = begin; entry != end; ++entry) {
            if (entry->lane < first_lane || entry->lane >= first_lane + lanes_at_once) continue;
            for (std::uintptr_t word = entry->address / kBankBytes;
                 word <= (entry->address + entry->bytes - 1) / kBankBytes; ++word) {
                words.push_back(word);
            }
        }
        if (words.empty()) continue;
        keep_distinct(&words);
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
