// What is asked of every load and store of a kernel, and the functions through which a lane reaches its execution.

#include <cstring>
#include <sstream>

#include "emulation/code_map.h"
#include "emulation/execution.h"

namespace rfkernels::emulation {
namespace {

constexpr std::size_t kNearby = 1024;  // what lies this close to an allocation is called out of its bounds

std::string place_in(const Region& region, const void* address) {
    const std::ptrdiff_t offset = static_cast<const char*>(address) - region.begin;
    return "byte " + std::to_string(offset) + " of " + region.name + " (" + std::to_string(region.bytes) + " bytes)";
}

}  // namespace

void Execution::access(const void* address, std::size_t bytes, bool writes, bool is_atomic, const void* place) {
    if (lane_ == nullptr) return;  // the harness's own
    if (lane_->fiber->holds(address)) {
        record_.traffic.local_bytes += bytes;
        return;
    }
    const char* arguments = static_cast<const char*>(launch_.arguments);
    if (address >= arguments && address < arguments + launch_.argument_bytes) return;
    if (options_.check || options_.count_traffic) {
        const bool is_shared = lane_->block->shared.lies_in_arena(address);
        Region* region = is_shared ? lane_->block->shared.find(address) : emulator_->memory.find(address, kNearby);
        if (!options_.check || check_access(region, address, bytes, writes, place)) {
            if (region != nullptr && options_.count_traffic) {
                count_access(region, address, bytes, writes, is_atomic, place);
            }
            if (region != nullptr && options_.check) {
                if (region->shadow == nullptr) {
                    region->shadow = std::make_unique<Shadow>();
                    region->shadow->clear(region->bytes);
                }
                const Moment moment = now(*lane_);
                const Access made{moment, place, 0, writes, is_atomic};
                const std::size_t offset = static_cast<std::size_t>(static_cast<const char*>(address) - region->begin);
                const Access* other = region->shadow->record(offset, bytes, made, lane_->order);
                if (other != nullptr) {
                    const bool between_blocks = other->moment.block != moment.block;
                    std::ostringstream message;
                    message << place_in(*region, address) << ": " << where(*lane_) << (writes ? " writes" : " reads")
                            << " (" << name_of_place(place) << ") what lane " << other->moment.lane << " of block "
                            << other->moment.block << (other->writes ? " wrote" : " read") << " ("
                            << name_of_place(other->place) << ") and nothing orders them";
                    report(between_blocks ? FindingKind::kRaceBetweenBlocks : FindingKind::kRace, place, other->place,
                           message.str());
                }
            }
        }
    }
    yield_perhaps();
}

/// Bounds, alignment, whether anybody wrote what is read. False where the access is nowhere it may be.
bool Execution::check_access(Region* region, const void* address, std::size_t bytes, bool writes, const void* place) {
    const auto say = [&](FindingKind kind, const std::string& what) {
        report(kind, place, nullptr,
               where(*lane_) + (writes ? " writes " : " reads ") + std::to_string(bytes) + " bytes at " + what + " (" +
                   name_of_place(place) + ")");
    };
    if (region == nullptr) {
        if (lane_->block->shared.lies_in_arena(address)) {
            const SharedMemory& shared = lane_->block->shared;
            const Region* nearest = nullptr;
            for (std::size_t i = 0; i < shared.array_count(); ++i) {
                const Region& array = lane_->block->shared.at(i);
                if (nearest == nullptr || array.begin <= address) nearest = &array;
            }
            say(FindingKind::kOutOfBounds,
                nearest == nullptr ? "shared memory without arrays" : place_in(*nearest, address));
            return false;
        }
        if (is_constant(address)) {
            if (!writes) return true;
            say(FindingKind::kWriteToConstant, "a constant");
            return false;
        }
        std::ostringstream text;
        if (is_static_variable(address)) {
            text << "a variable of the host's program";
        } else {
            text << address << ", where no allocation is";
        }
        say(FindingKind::kOutOfBounds, text.str());
        return false;
    }
    if (region->freed) {
        say(FindingKind::kUseAfterFree, place_in(*region, address) + ", which was freed");
        return false;
    }
    const char* begin = static_cast<const char*>(address);
    if (begin < region->begin || begin + bytes > region->end()) {
        say(FindingKind::kOutOfBounds, place_in(*region, address));
        return false;
    }
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
        say(FindingKind::kMisalignedAccess, place_in(*region, address));
    }
    if (!region->initialised.empty()) {
        const std::size_t first = static_cast<std::size_t>(begin - region->begin);
        for (std::size_t i = first; i < first + bytes; ++i) {
            if (writes) {
                region->initialised[i] = true;
            } else if (!region->initialised[i]) {
                say(FindingKind::kUninitialisedRead, place_in(*region, begin + (i - first)) + ", which nobody wrote");
                break;
            }
        }
    }
    return true;
}

void Execution::count_access(Region* region, const void* address, std::size_t bytes, bool writes, bool is_atomic,
                             const void* place) {
    using Kind = TrafficCounter::Kind;
    const bool is_shared = region->kind == Region::Kind::kShared;
    std::uintptr_t where_it_is = reinterpret_cast<std::uintptr_t>(address);
    if (is_shared) {
        where_it_is = lane_->block->shared.offset_of(address);
        if (is_atomic) return;
    } else {
        if (where_it_is < reinterpret_cast<std::uintptr_t>(region->begin) ||
            where_it_is + bytes > reinterpret_cast<std::uintptr_t>(region->end())) {
            return;
        }
        const std::size_t before = reinterpret_cast<std::uintptr_t>(region->begin) / kSectorBytes;
        auto& sectors = writes ? region->sectors_written : region->sectors_read;
        for (std::size_t sector = where_it_is / kSectorBytes; sector <= (where_it_is + bytes - 1) / kSectorBytes;
             ++sector) {
            sectors[sector - before] = true;
        }
        if (is_atomic) {
            ++record_.traffic.global_atomics;
            return;
        }
    }
    const Kind kind = is_shared ? (writes ? Kind::kSharedStore : Kind::kSharedLoad)
                                : (writes ? Kind::kGlobalStore : Kind::kGlobalLoad);
    lane_->block->traffic.add(lane_->warp(), lane_->lane_of_warp(), kind, where_it_is, bytes, place);
}

namespace lane {

Extent thread_index() {
    return Execution::current()->lane().thread_index;
}
Extent block_index() {
    return Execution::current()->lane().block->index;
}
Extent block_extent() {
    return Execution::current()->launch().block;
}
Extent grid_extent() {
    return Execution::current()->launch().grid;
}

int barrier(BarrierKind kind, int predicate, Site site) {
    return Execution::current()->barrier(kind, predicate, site);
}

std::uint64_t warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value, int source_lane,
                             Site site) {
    return Execution::current()->warp_operation(operation, mask, value, source_lane, site);
}

std::uint32_t active_mask(Site site) {
    return Execution::current()->active_mask(site);
}
void fence() {
    Execution::current()->fence();
}

void* shared_array(const void* tag, const char* name, std::size_t bytes) {
    return Execution::current()->shared_array(tag, name, bytes);
}

void* dynamic_shared() {
    static const char tag = 0;
    Execution* execution = Execution::current();
    return execution->shared_array(&tag, "dynamic shared memory", execution->launch().dynamic_shared_bytes);
}

void marked_access(const void* address, std::size_t bytes, bool writes, bool is_atomic, const void* place) {
    Execution* execution = Execution::current();
    if (execution == nullptr) return;
    execution->count_step();
    if (hooks_are_compiled_in()) {
        if (is_atomic) execution->pass_through(address);
        execution->access(address, bytes, writes, true, place);
    } else {
        execution->yield_perhaps();
    }
}

void access(const void* address, std::size_t bytes, bool writes, const void* place) {
    Execution* execution = Execution::current();
    if (execution != nullptr) execution->access(address, bytes, writes, false, place);
}

void load_vector(const void* address, void* value, std::size_t bytes) {
    if (hooks_are_compiled_in()) access(address, bytes, false, __builtin_return_address(0));
    std::memcpy(value, address, bytes);
}

void store_vector(void* address, const void* value, std::size_t bytes) {
    if (hooks_are_compiled_in()) access(address, bytes, true, __builtin_return_address(0));
    std::memcpy(address, value, bytes);
}

}  // namespace lane
}  // namespace rfkernels::emulation
