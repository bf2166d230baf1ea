#include "emulation/findings.h"

#include <utility>

namespace rfkernels::emulation {

const char* name_of(FindingKind kind) {
    switch (kind) {
        case FindingKind::kRace:
            return "race";
        case FindingKind::kRaceBetweenBlocks:
            return "race_between_blocks";
        case FindingKind::kOutOfBounds:
            return "out_of_bounds";
        case FindingKind::kUseAfterFree:
            return "use_after_free";
        case FindingKind::kUninitialisedRead:
            return "uninitialised_read";
        case FindingKind::kMisalignedAccess:
            return "misaligned_access";
        case FindingKind::kWriteToConstant:
            return "write_to_constant";
        case FindingKind::kDivergentBarrier:
            return "divergent_barrier";
        case FindingKind::kExitedBeforeBarrier:
            return "exited_before_barrier";
        case FindingKind::kCallerNotInMask:
            return "caller_not_in_mask";
        case FindingKind::kExitedLaneInMask:
            return "exited_lane_in_mask";
        case FindingKind::kDivergentWarpOperation:
            return "divergent_warp_operation";
        case FindingKind::kInactiveLaneRead:
            return "inactive_lane_read";
        case FindingKind::kActiveMaskUsed:
            return "active_mask_used";
        case FindingKind::kDeadlock:
            return "deadlock";
        case FindingKind::kEndlessLoop:
            return "endless_loop";
        case FindingKind::kLaunchLimits:
            return "launch_limits";
    }
    return "unknown";
}

void Findings::add(FindingKind kind, const char* kernel, const void* place, const void* other_place,
                   std::string message) {
    const auto [entry, is_new] =
        index_of_.emplace(std::make_tuple(kind, std::string(kernel), place, other_place), findings_.size());
    if (is_new) {
        findings_.push_back(Finding{kind, kernel, std::move(message), 1});
    } else {
        ++findings_[entry->second].count;
    }
}

std::vector<Finding> Findings::take() {
    index_of_.clear();
    return std::exchange(findings_, {});
}

}  // namespace rfkernels::emulation
