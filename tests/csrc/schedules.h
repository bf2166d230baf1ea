#pragma once

// The schedules that every kernel is run under.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "emulation/emulation.h"

namespace rfkernels::test {

struct Schedule {
    const char* name;
    emulation::Order lanes;
    emulation::Order blocks;
    unsigned resident_blocks;
    double preemption;
};

constexpr Schedule kSchedules[] = {
    {"sequential", emulation::Order::kSequential, emulation::Order::kSequential, 1, 0.0},
    {"reverse", emulation::Order::kReverse, emulation::Order::kReverse, 1, 0.0},
    {"random", emulation::Order::kRandom, emulation::Order::kRandom, 1, 0.0},
    {"interleaved", emulation::Order::kRandom, emulation::Order::kRandom, 4, 0.0},
    {"preempted", emulation::Order::kRandom, emulation::Order::kRandom, 4, 0.2},
};

inline emulation::Options options_of(const Schedule& schedule, std::uint64_t seed) {
    emulation::Options options;
    options.lanes = schedule.lanes;
    options.blocks = schedule.blocks;
    options.resident_blocks = schedule.resident_blocks;
    options.preemption = schedule.preemption;
    options.seed = seed;
    return options;
}

inline void print(const std::vector<emulation::Finding>& findings) {
    for (const emulation::Finding& finding : findings) {
        std::fprintf(stderr, "    %s in %s (%llu times): %s\n", name_of(finding.kind), finding.kernel.c_str(),
                     static_cast<unsigned long long>(finding.count), finding.message.c_str());
    }
}

}  // namespace rfkernels::test
