#include "emulation/execution.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <sstream>

namespace rfkernels::emulation {
namespace {

std::string text(const Site& site) {
    const std::string file = site.file;
    return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(site.line);
}

std::string text(const Extent& extent) {
    return "(" + std::to_string(extent.x) + ", " + std::to_string(extent.y) + ", " + std::to_string(extent.z) + ")";
}

Extent index_in(const Extent& extent, std::uint64_t number) {
    return Extent{static_cast<unsigned>(number % extent.x), static_cast<unsigned>(number / extent.x % extent.y),
                  static_cast<unsigned>(number / extent.x / extent.y)};
}

/// What tells findings at one line from those at another.
const void* place_of(const Site& site) {
    return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(site.file) +
                                         static_cast<std::uintptr_t>(site.line));
}

const char* name_of(WarpOperation operation) {
    switch (operation) {
        case WarpOperation::kSync:
            return "__syncwarp";
        case WarpOperation::kShuffle:
            return "a shuffle";
        case WarpOperation::kBallot:
            return "__ballot_sync";
        case WarpOperation::kAny:
            return "__any_sync";
        case WarpOperation::kAll:
            return "__all_sync";
        case WarpOperation::kMatchAny:
            return "__match_any_sync";
        default:
            return "a reduction";
    }
}

}  // namespace

thread_local Execution* Execution::current_ = nullptr;

Execution::Execution(Emulator* emulator, const Launch& launch)
    : emulator_(emulator), launch_(launch), options_(emulator->options), random_(emulator->options.seed) {
    record_.kernel = launch.kernel;
    record_.grid = launch.grid;
    record_.block = launch.block;
}

Execution::~Execution() {
    constexpr std::size_t kMostSpare = 4096;  // a block has 1024 lanes at most
    auto& spare = emulator_->spare_fibers;
    try {
        // Those of lanes that were given up too.
        for (const auto& block : resident_) {
            for (LaneState& lane : block->lanes) {
                if (lane.fiber != nullptr) spare.push_back(std::move(lane.fiber));
            }
        }
    } catch (const std::bad_alloc&) {
        // Those that there is no room to keep go with their lanes.
    }
    if (spare.size() > kMostSpare) spare.resize(kMostSpare);
}

bool Execution::limits_hold() {
    const Extent& grid = launch_.grid;
    const Extent& block = launch_.block;
    const char* wrong = nullptr;
    if (grid.count() == 0 || block.count() == 0) {
        wrong = "a side is 0";
    } else if (grid.x > 0x7FFFFFFFU || grid.y > 65535 || grid.z > 65535) {
        wrong = "the grid is too large: at most 2^31 - 1 x 65535 x 65535 blocks";
    } else if (block.count() > 1024 || block.z > 64) {
        wrong = "the block is too large: at most 1024 lanes, 64 deep";
    } else if (launch_.dynamic_shared_bytes > options_.most_shared_bytes) {
        wrong = "more shared memory than a block may have";
    }
    if (wrong == nullptr) return true;
    emulator_->findings.add(FindingKind::kLaunchLimits, launch_.kernel, nullptr, nullptr,
                            std::string(wrong) + "; grid " + text(grid) + ", block " + text(block) + ", " +
                                std::to_string(launch_.dynamic_shared_bytes) + " bytes of shared memory");
    return false;
}

bool Execution::run() {
    if (!limits_hold()) return false;
    for (const auto& region : emulator_->memory.regions()) {
        if (region->shadow != nullptr) region->shadow->clear(region->bytes);
        const std::size_t sectors = options_.count_traffic ? region->bytes / kSectorBytes + 2 : 0;
        region->sectors_read.assign(sectors, false);
        region->sectors_written.assign(sectors, false);
    }
    struct Current {
        Execution* before = current_;
        explicit Current(Execution* now) { current_ = now; }
        ~Current() { current_ = before; }
    };
    const Current current(this);
    std::vector<std::uint32_t> order(launch_.grid.count());
    std::iota(order.begin(), order.end(), 0U);
    if (options_.blocks == Order::kReverse) std::reverse(order.begin(), order.end());
    if (options_.blocks == Order::kRandom) std::shuffle(order.begin(), order.end(), random_);
    std::size_t started = 0;
    while (!given_up_ && (started < order.size() || !resident_.empty())) {
        while (started < order.size() && resident_.size() < std::max(1U, options_.resident_blocks)) {
            if (spare_.empty()) spare_.push_back(std::make_unique<BlockState>());
            resident_.push_back(std::move(spare_.back()));
            spare_.pop_back();
            start(resident_.back().get(), order[started++]);
        }
        const std::size_t chosen = resident_.size() == 1 ? 0 : random_below(resident_.size());
        BlockState* block = resident_[chosen].get();
        if (!block->ready.empty()) {
            step(block);
        } else if (block->done == block->lanes.size()) {
            finish(block);
            spare_.push_back(std::move(resident_[chosen]));
            resident_.erase(resident_.begin() + static_cast<std::ptrdiff_t>(chosen));
        } else if (!resolve(block)) {
            given_up_ = true;
        }
    }
    if (error_ != nullptr) std::rethrow_exception(error_);
    if (options_.count_traffic) {
        for (const auto& region : emulator_->memory.regions()) {
            const auto touched = [](const std::vector<bool>& sectors) {
                return kSectorBytes * static_cast<std::uint64_t>(std::count(sectors.begin(), sectors.end(), true));
            };
            const Traffic::Moved moved{touched(region->sectors_read), touched(region->sectors_written)};
            if (moved.read + moved.written == 0) continue;
            Traffic::Moved& total = record_.traffic.moved[region->name];
            total.read += moved.read;
            total.written += moved.written;
        }
    }
    if (emulator_->keep_records) emulator_->records.push_back(std::move(record_));
    return !given_up_;
}

void Execution::start(BlockState* block, std::uint32_t number) {
    block->number = number;
    block->index = index_in(launch_.grid, number);
    block->lanes.resize(launch_.block.count());
    block->warps.assign((block->lanes.size() + kWarpLanes - 1) / kWarpLanes, WarpState{});
    if (block->lanes.size() % kWarpLanes != 0) block->warps.back().gone = ~0U << (block->lanes.size() % kWarpLanes);
    block->at_barrier = 0;
    block->done = 0;
    block->epoch = 0;
    block->shared.clear();
    block->ready.clear();
    if (options_.count_traffic) block->traffic.start_block(block->warps.size());
    for (std::size_t i = 0; i < block->lanes.size(); ++i) {
        LaneState& lane = block->lanes[i];
        lane.state = LaneState::State::kReady;
        lane.block = block;
        lane.number = static_cast<std::uint16_t>(i);
        lane.thread_index = index_in(launch_.block, i);
        lane.order.restart();
        block->ready.push_back(&lane);
    }
    if (options_.lanes == Order::kReverse) std::reverse(block->ready.begin(), block->ready.end());
}

LaneState* Execution::next_lane(BlockState* block) {
    if (options_.lanes == Order::kRandom) {
        std::swap(block->ready[random_below(block->ready.size())], block->ready.front());
    }
    LaneState* lane = block->ready.front();
    block->ready.pop_front();
    return lane;
}

void Execution::step(BlockState* block) {
    LaneState* lane = next_lane(block);
    if (lane->fiber == nullptr) {
        auto& spare = emulator_->spare_fibers;
        if (spare.empty()) spare.push_back(std::make_unique<Fiber>());
        lane->fiber = std::move(spare.back());
        spare.pop_back();
        lane->fiber->prepare(
            [](void* given) {
                // What the harness throws must not leave the lane's stack: `run` throws it again.
                Execution* self = static_cast<Execution*>(given);
                try {
                    self->launch_.call(self->launch_.arguments);
                } catch (...) {
                    self->error_ = std::current_exception();
                    self->given_up_ = true;
                }
            },
            this);
    }
    lane_ = lane;
    lane->fiber->resume();
    lane_ = nullptr;
    count_step();
    if (!lane->fiber->finished()) return;
    lane->state = LaneState::State::kDone;
    block->warps[lane->warp()].gone |= lane->bit();
    ++block->done;
    emulator_->spare_fibers.push_back(std::move(lane->fiber));
}

void Execution::finish(BlockState* block) {
    if (options_.count_traffic) block->traffic.finish_block(&record_.traffic);
    record_.shared_bytes = std::max(record_.shared_bytes, block->shared.bytes_declared());
}

/// An atomic is a step too: a lane that waits for another one spins on it.
void Execution::count_step() {
    if (++steps_ <= options_.most_steps || given_up_) return;
    report(FindingKind::kEndlessLoop, nullptr, nullptr,
           "given up after " + std::to_string(options_.most_steps) + " steps");
    given_up_ = true;
    if (lane_ != nullptr) suspend();  // for ever
}

void Execution::suspend() {
    lane_->fiber->suspend();
}

void Execution::yield_perhaps() {
    if (options_.preemption <= 0.0) return;
    if (static_cast<double>(random_() >> 11U) * 0x1p-53 >= options_.preemption) return;
    lane_->block->ready.push_back(lane_);
    suspend();
}

int Execution::barrier(BarrierKind kind, int predicate, Site site) {
    LaneState& self = lane();
    self.state = LaneState::State::kAtBarrier;
    self.barrier_kind = kind;
    self.predicate = predicate;
    self.site = site;
    ++self.block->at_barrier;
    suspend();
    return static_cast<int>(self.result);
}

/// Nobody can go on by themselves: a barrier that all have reached, or a fault of the kernel.
bool Execution::resolve(BlockState* block) {
    if (block->at_barrier == block->lanes.size() - block->done) {
        release_barrier(block);
        return true;
    }
    // A lane that the others name may have returned after they came.
    for (LaneState& lane : block->lanes) {
        if (lane.state == LaneState::State::kAtWarpOperation) try_warp_operation(&lane);
    }
    if (!block->ready.empty()) return true;
    report_deadlock(*block);
    return false;
}

void Execution::release_barrier(BlockState* block) {
    const LaneState* first = nullptr;
    int count = 0;
    std::size_t waiting = 0;
    std::shared_ptr<const Knowledge> known;
    for (LaneState& lane : block->lanes) {
        if (lane.state != LaneState::State::kAtBarrier) continue;
        if (first == nullptr) first = &lane;
        ++waiting;
        count += lane.predicate != 0 ? 1 : 0;
        if (lane.site != first->site || lane.barrier_kind != first->barrier_kind) {
            report(FindingKind::kDivergentBarrier, place_of(first->site), place_of(lane.site),
                   where(*first) + " waits at " + text(first->site) + ", " + where(lane) + " at " + text(lane.site));
        }
        add_knowledge(lane.order.known, &known);
    }
    if (block->done > 0) {
        report(FindingKind::kExitedBeforeBarrier, place_of(first->site), nullptr,
               std::to_string(block->done) + " of " + std::to_string(block->lanes.size()) + " lanes of block " +
                   text(block->index) + " have returned while the others wait at " + text(first->site));
    }
    const bool all = count == static_cast<int>(waiting);
    for (LaneState& lane : block->lanes) {
        if (lane.state != LaneState::State::kAtBarrier) continue;
        switch (lane.barrier_kind) {
            case BarrierKind::kPlain:
                lane.result = 0;
                break;
            case BarrierKind::kCount:
                lane.result = static_cast<std::uint64_t>(count);
                break;
            case BarrierKind::kAnd:
                lane.result = all ? 1 : 0;
                break;
            case BarrierKind::kOr:
                lane.result = count > 0 ? 1 : 0;
                break;
        }
        lane.order.known = known;
        lane.state = LaneState::State::kReady;
        block->ready.push_back(&lane);
    }
    if (options_.lanes == Order::kReverse) std::reverse(block->ready.begin(), block->ready.end());
    block->at_barrier = 0;
    ++block->epoch;
    ++record_.barriers;
}

std::uint64_t Execution::warp_operation(WarpOperation operation, std::uint32_t mask, std::uint64_t value,
                                        int source_lane, Site site) {
    LaneState& self = lane();
    self.operation = operation;
    self.mask = mask;
    self.value = value;
    self.source_lane = source_lane;
    self.site = site;
    if ((mask & self.bit()) == 0) {
        report(FindingKind::kCallerNotInMask, place_of(site), nullptr,
               where(self) + " calls " + name_of(operation) + " at " + text(site) + " with a mask without itself");
        self.mask = mask = self.bit();
    }
    self.state = LaneState::State::kAtWarpOperation;
    self.block->warps[self.warp()].at_operation |= self.bit();
    try_warp_operation(&self);
    if (self.state == LaneState::State::kAtWarpOperation) {
        suspend();
    }
    return self.result;
}

/// Completes the operation that `lane` waits at if all that it names are there.
void Execution::try_warp_operation(LaneState* lane) {
    BlockState* block = lane->block;
    const WarpState& warp = block->warps[lane->warp()];
    if ((lane->mask & ~(warp.at_operation | warp.gone)) != 0) return;
    const std::uint32_t missing = lane->mask & warp.gone;
    LaneState* members[kWarpLanes] = {};
    LaneState* const first_of_warp = lane - lane->lane_of_warp();
    for (int i = 0; i < kWarpLanes; ++i) {
        if (((lane->mask & ~missing) >> i & 1U) == 0) continue;
        members[i] = first_of_warp + i;
        if (members[i]->mask != lane->mask) return;
    }
    if (missing != 0) {
        std::ostringstream message;
        message << where(*lane) << " calls " << name_of(lane->operation) << " at " << text(lane->site)
                << " with mask 0x" << std::hex << lane->mask << ", but lanes 0x" << missing
                << " have returned or never were";
        report(FindingKind::kExitedLaneInMask, place_of(lane->site), nullptr, message.str());
    }
    complete_warp_operation(members, lane->mask & ~missing);
}

void Execution::complete_warp_operation(LaneState** members, std::uint32_t mask) {
    const LaneState* first = nullptr;
    std::array<std::uint32_t, kWarpLanes> clocks{};
    std::shared_ptr<const Knowledge> known;
    const bool is_ordered = hooks_are_compiled_in();  // without them nobody asks what was before what
    for (int i = 0; i < kWarpLanes; ++i) {
        if (members[i] == nullptr) continue;
        LaneState& member = *members[i];
        if (first == nullptr) first = &member;
        if (member.site != first->site || member.operation != first->operation) {
            report(FindingKind::kDivergentWarpOperation, place_of(first->site), place_of(member.site),
                   where(*first) + " waits at " + text(first->site) + ", " + where(member) + " at " +
                       text(member.site) + ", each naming the other");
        }
        if (!is_ordered) continue;
        for (int j = 0; j < kWarpLanes; ++j) clocks[j] = std::max(clocks[j], member.order.warp_clocks[j]);
        clocks[i] = std::max(clocks[i], member.order.clock);
        add_knowledge(member.order.known, &known);
    }
    for (int i = 0; i < kWarpLanes; ++i) {
        if (members[i] != nullptr) members[i]->result = result_for(*members[i], members, mask);
    }
    for (int i = 0; i < kWarpLanes; ++i) {
        if (members[i] == nullptr) continue;
        LaneState& member = *members[i];
        if (is_ordered) {
            member.order.warp_clocks = clocks;
            ++member.order.clock;
            member.order.known = known;
        }
        member.state = LaneState::State::kReady;
        member.block->warps[member.warp()].at_operation &= ~member.bit();
        // The one that runs goes on by itself.
        if (&member != lane_) member.block->ready.push_back(&member);
    }
}

std::uint64_t Execution::result_for(const LaneState& lane, LaneState* const* members, std::uint32_t mask) {
    constexpr std::uint64_t kPoisonValue = 0xCBCBCBCBCBCBCBCBU;
    std::uint64_t result = 0;
    switch (lane.operation) {
        case WarpOperation::kSync:
            return 0;
        case WarpOperation::kShuffle:
            if (members[lane.source_lane] == nullptr) {
                report(FindingKind::kInactiveLaneRead, place_of(lane.site), nullptr,
                       where(lane) + " shuffles from lane " + std::to_string(lane.source_lane) + " at " +
                           text(lane.site) + ", which takes no part");
                return kPoisonValue;
            }
            return members[lane.source_lane]->value;
        case WarpOperation::kBallot:
            for (int i = 0; i < kWarpLanes; ++i) {
                if (members[i] != nullptr && members[i]->value != 0) result |= std::uint64_t{1} << i;
            }
            return result;
        case WarpOperation::kAny:
            return std::any_of(members, members + kWarpLanes, [](auto* m) { return m != nullptr && m->value != 0; });
        case WarpOperation::kAll:
            return std::all_of(members, members + kWarpLanes, [](auto* m) { return m == nullptr || m->value != 0; });
        case WarpOperation::kMatchAny:
            for (int i = 0; i < kWarpLanes; ++i) {
                if (members[i] != nullptr && members[i]->value == lane.value) result |= std::uint64_t{1} << i;
            }
            return result;
        default:
            break;
    }
    bool is_first = true;
    for (int i = 0; i < kWarpLanes; ++i) {
        if ((mask >> i & 1U) == 0) continue;
        const std::uint32_t value = static_cast<std::uint32_t>(members[i]->value);
        const std::uint32_t before = static_cast<std::uint32_t>(result);
        const auto is_less = [](std::uint32_t a, std::uint32_t b) {
            return static_cast<std::int32_t>(a) < static_cast<std::int32_t>(b);
        };
        if (is_first) {
            result = value;
            is_first = false;
            continue;
        }
        switch (lane.operation) {
            case WarpOperation::kAddUnsigned:
                result = before + value;
                break;
            case WarpOperation::kMinUnsigned:
                result = std::min(before, value);
                break;
            case WarpOperation::kMaxUnsigned:
                result = std::max(before, value);
                break;
            case WarpOperation::kMinSigned:
                result = is_less(value, before) ? value : before;
                break;
            case WarpOperation::kMaxSigned:
                result = is_less(before, value) ? value : before;
                break;
            case WarpOperation::kAnd:
                result = before & value;
                break;
            case WarpOperation::kOr:
                result = before | value;
                break;
            default:
                result = before ^ value;
                break;
        }
        result &= 0xFFFFFFFFU;
    }
    return result;
}

std::uint32_t Execution::active_mask(Site site) {
    LaneState& self = lane();
    report(FindingKind::kActiveMaskUsed, place_of(site), nullptr,
           where(self) + " asks for __activemask() at " + text(site) + ", which says who happens to run");
    return self.bit();
}

void Execution::fence() {
    LaneState& self = lane();
    self.order.fence(now(self));
    yield_perhaps();
}

void* Execution::shared_array(const void* tag, const char* name, std::size_t bytes) {
    SharedMemory& shared = lane().block->shared;
    void* memory = shared.array(tag, name, bytes);
    if (memory == nullptr || shared.bytes_declared() > options_.most_shared_bytes) {
        report(FindingKind::kLaunchLimits, tag, nullptr,
               std::string(name) + " of " + std::to_string(bytes) + " bytes is more than the " +
                   std::to_string(options_.most_shared_bytes) + " bytes of shared memory that a block may have");
    }
    if (memory != nullptr) return memory;
    given_up_ = true;
    suspend();  // for ever
    return nullptr;
}

void Execution::report(FindingKind kind, const void* place, const void* other_place, std::string message) {
    emulator_->findings.add(kind, launch_.kernel, place, other_place, std::move(message));
}

void Execution::report_deadlock(const BlockState& block) {
    std::ostringstream message;
    message << "block " << text(block.index) << ":";
    Site last;
    const LaneState* before = nullptr;
    bool masks_differ = false;
    std::size_t listed = 0;
    for (const LaneState& lane : block.lanes) {
        if (lane.state == LaneState::State::kDone) continue;
        if (lane.state == LaneState::State::kAtWarpOperation) {
            const bool same_warp = before != nullptr && before->warp() == lane.warp();
            masks_differ = masks_differ || (same_warp && before->mask != lane.mask && (before->mask & lane.mask) != 0);
            before = &lane;
        }
        if (listed > 0 && lane.site == last) continue;
        last = lane.site;
        if (++listed > 8) break;
        message << (listed == 1 ? " lane " : "; lane ") << lane.number << " waits at " << text(lane.site);
        if (lane.state == LaneState::State::kAtWarpOperation) {
            message << " for lanes 0x" << std::hex << lane.mask << std::dec << " of its warp";
        } else {
            message << " for the block";
        }
    }
    report(masks_differ ? FindingKind::kDivergentWarpOperation : FindingKind::kDeadlock, place_of(last), nullptr,
           message.str());
}

std::string Execution::where(const LaneState& lane) const {
    return "lane " + std::to_string(lane.number) + " of block " + text(lane.block->index);
}

Moment Execution::now(const LaneState& lane) const {
    return Moment{lane.block->number, lane.order.clock, lane.number, lane.block->epoch};
}

std::size_t Execution::random_below(std::size_t count) {
    return static_cast<std::size_t>(random_() % count);
}

Emulator& Emulator::instance() {
    static Emulator emulator;
    return emulator;
}

bool Emulator::run(const Launch& launch) {
    return Execution(this, launch).run();
}

}  // namespace rfkernels::emulation
