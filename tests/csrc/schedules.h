#pragma once

#include <cstdint>

#include "emulation/emulation.h"

// The orders in which lanes and blocks take turns: every kernel must give the same under all of them.

struct Schedule {
    const char* name;
    rfkernels::emulation::Order lanes;
    rfkernels::emulation::Order blocks;
    unsigned resident_blocks;
    double preemption;

    rfkernels::emulation::Options options(std::uint64_t seed) const {
        rfkernels::emulation::Options result;
        result.lanes = lanes;
        result.blocks = blocks;
        result.resident_blocks = resident_blocks;
        result.preemption = preemption;
        result.seed = seed;
        return result;
    }
};

constexpr Schedule kSchedules[] = {
    {"sequential", rfkernels::emulation::Order::kSequential, rfkernels::emulation::Order::kSequential, 1, 0.0},
    {"reverse", rfkernels::emulation::Order::kReverse, rfkernels::emulation::Order::kReverse, 1, 0.0},
    {"random", rfkernels::emulation::Order::kRandom, rfkernels::emulation::Order::kRandom, 1, 0.0},
    {"interleaved", rfkernels::emulation::Order::kRandom, rfkernels::emulation::Order::kRandom, 4, 0.0},
    {"preempted", rfkernels::emulation::Order::kRandom, rfkernels::emulation::Order::kRandom, 4, 0.02},
};
