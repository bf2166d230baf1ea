#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "emulation/emulation.h"
#include "planted_bugs/planted_bug.h"
#include "rfkernels/device.h"
#include "schedules.h"

// The harness itself: every planted bug is reported by its name, under every schedule, and the same kernel without the
// bug is not. What needs the hooks is tested in the build that has them.

namespace {

using rfkernels::Device;
using rfkernels::DeviceKind;
using rfkernels::Status;
using rfkernels::emulation::Emulator;
using rfkernels::emulation::Finding;
using rfkernels::emulation::FindingKind;
using rfkernels::emulation::Options;
using rfkernels::test::kSchedules;
using rfkernels::test::options_of;
using rfkernels::test::print;
using rfkernels::test::Schedule;
namespace planted = rfkernels::planted;

struct PlantedBug {
    const char* name;
    planted::Run* run;
    FindingKind expected;
    bool needs_hooks;
    bool is_given_up;  ///< the launch cannot be carried on
};

const PlantedBug kPlantedBugs[] = {
    {"missing_barrier", planted::missing_barrier, FindingKind::kRace, true, false},
    {"reuse_without_barrier", planted::reuse_without_barrier, FindingKind::kRace, true, false},
    {"barrier_in_a_branch", planted::barrier_in_a_branch, FindingKind::kDeadlock, false, true},
    {"barriers_apart", planted::barriers_apart, FindingKind::kDivergentBarrier, false, false},
    {"exit_before_barrier", planted::exit_before_barrier, FindingKind::kExitedBeforeBarrier, false, false},
    {"missing_syncwarp", planted::missing_syncwarp, FindingKind::kRace, true, false},
    {"mask_without_caller", planted::mask_without_caller, FindingKind::kCallerNotInMask, false, false},
    {"mask_with_exited_lane", planted::mask_with_exited_lane, FindingKind::kExitedLaneInMask, false, false},
    {"masks_that_differ", planted::masks_that_differ, FindingKind::kDivergentWarpOperation, false, true},
    {"shuffle_from_outside", planted::shuffle_from_outside, FindingKind::kInactiveLaneRead, false, false},
    {"active_mask", planted::active_mask, FindingKind::kActiveMaskUsed, false, false},
    {"lost_update", planted::lost_update, FindingKind::kRace, true, false},
    {"ticket_without_fence", planted::ticket_without_fence, FindingKind::kRaceBetweenBlocks, true, false},
    {"blocks_overlap", planted::blocks_overlap, FindingKind::kRaceBetweenBlocks, true, false},
    {"beyond_the_end", planted::beyond_the_end, FindingKind::kOutOfBounds, true, false},
    {"beyond_shared", planted::beyond_shared, FindingKind::kOutOfBounds, true, false},
    {"unwritten_shared", planted::unwritten_shared, FindingKind::kUninitialisedRead, true, false},
    {"unwritten_global", planted::unwritten_global, FindingKind::kUninitialisedRead, true, false},
    {"after_release", planted::after_release, FindingKind::kUseAfterFree, true, false},
    {"misaligned_vector", planted::misaligned_vector, FindingKind::kMisalignedAccess, true, false},
    {"spinning", planted::spinning, FindingKind::kEndlessLoop, false, true},
    {"too_many_lanes", planted::too_many_lanes, FindingKind::kLaunchLimits, false, true},
    {"too_much_shared", planted::too_much_shared, FindingKind::kLaunchLimits, false, true},
};

struct Bench {
    std::shared_ptr<Device> device;
    planted::Workbench lent;

    Bench() {
        CHECK(Device::open(DeviceKind::kEmulated, 0, &device).ok());
        constexpr std::size_t kBytes = planted::kNumbers * sizeof(int);
        const auto allocate = [&](std::size_t bytes, const char* purpose) {
            void* memory = nullptr;
            CHECK(device->allocate(bytes, purpose, &memory).ok());
            return static_cast<int*>(memory);
        };
        CHECK(device->create_stream(&lent.stream).ok());
        int* input = allocate(kBytes, "input");
        std::vector<int> numbers(planted::kNumbers);
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i);
        CHECK(device->copy(input, numbers.data(), kBytes, rfkernels::CopyDirection::kToDevice, lent.stream).ok());
        lent.input = input;
        lent.output = allocate(kBytes, "output");
        lent.counter = allocate(sizeof(int), "counter");
        lent.unwritten = allocate(kBytes, "unwritten");
        int* released = allocate(kBytes, "released");
        CHECK(device->release(released).ok());
        lent.released = released;
        CHECK(device->fill(lent.output, 0, kBytes, lent.stream).ok());
        CHECK(device->fill(lent.counter, 0, sizeof(int), lent.stream).ok());
        CHECK(device->synchronize(lent.stream).ok());
    }

    ~Bench() {
        CHECK(device->release(const_cast<int*>(lent.input)).ok());
        CHECK(device->release(lent.output).ok());
        CHECK(device->release(lent.counter).ok());
        CHECK(device->release(const_cast<int*>(lent.unwritten)).ok());
        CHECK(device->destroy_stream(lent.stream).ok());
    }

    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
};

/// What the harness says of one kernel under one schedule.
std::vector<Finding> findings_of(const PlantedBug& bug, const Options& options, bool faulty, Status* status) {
    Emulator& emulator = Emulator::instance();
    const Bench bench;
    emulator.options = options;
    emulator.findings.take();
    CHECK(bug.run(bench.lent, faulty));
    *status = bench.device->synchronize(bench.lent.stream);
    return emulator.findings.take();
}

void test_planted_bugs() {
    const bool has_hooks = rfkernels::emulation::hooks_are_compiled_in();
    int reported = 0;
    for (const PlantedBug& bug : kPlantedBugs) {
        if (bug.needs_hooks && !has_hooks) continue;
        for (const Schedule& schedule : kSchedules) {
            for (std::uint64_t seed = 1; seed <= 3; ++seed) {
                Options options = options_of(schedule, seed);
                options.most_steps = 100000;
                Status status;
                std::vector<Finding> findings = findings_of(bug, options, false, &status);
                if (!findings.empty() || !status.ok()) {
                    std::fprintf(stderr, "%s without its fault, %s: %s\n", bug.name, schedule.name, status.message());
                    print(findings);
                }
                CHECK(findings.empty() && status.ok());
                findings = findings_of(bug, options, true, &status);
                bool found = false;
                for (const Finding& finding : findings) {
                    found = found || finding.kind == bug.expected;
                    CHECK(finding.kernel == std::string(bug.name) + "_kernel");
                }
                if (!found || status.ok() == bug.is_given_up) {
                    std::fprintf(stderr, "%s, %s: wanted %s (given up: %d, %s)\n", bug.name, schedule.name,
                                 name_of(bug.expected), bug.is_given_up, status.message());
                    print(findings);
                }
                CHECK(found && status.ok() != bug.is_given_up);
                if (&schedule == kSchedules && seed == 1) print(findings);
            }
        }
        ++reported;
    }
    std::printf("%d planted bugs reported%s\n", reported, has_hooks ? "" : " (the others need the hooks)");
}

}  // namespace

int main() {
    test_planted_bugs();
    return 0;
}
