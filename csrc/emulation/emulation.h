#pragma once

// A GPU made of one CPU thread: runs kernels (csrc/device/kernel.h says how they are written) and watches them.
//
// Every lane is a fiber. A block runs each lane up to its next barrier, warp operation or end, in the order that the
// options ask for, and goes on when all have arrived that must. What is wrong is written down as a finding (findings.h)
// and the launch goes on where it can. In code compiled with the memory hooks (-fsanitize=thread, hooks.cpp) every load
// and store is looked at too; see `hooks_are_compiled_in`.
//
// One launch at a time, from any thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation/fiber.h"
#include "emulation/findings.h"
#include "emulation/memory.h"
#include "emulation/traffic.h"

namespace rfkernels::emulation {

struct Extent {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;
    std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

enum class Order { kSequential, kReverse, kRandom };

struct Options {
    Order lanes = Order::kSequential;  ///< which lane of a block runs next
    Order blocks = Order::kSequential;
    std::uint64_t seed = 1;        ///< of all that is random
    unsigned resident_blocks = 1;  ///< that take turns; more than one shows races between blocks
    double preemption = 0.0;       ///< the chance that a lane stops at a load, store or atomic
    bool check = true;             ///< every access: bounds, races, memory nobody wrote (needs the hooks)
    bool count_traffic = false;    ///< needs the hooks
    std::uint64_t most_steps = std::uint64_t{1} << 32;  ///< of one launch: times that a lane is resumed, and atomics
    std::size_t most_shared_bytes = 99 << 10;  ///< of one block; 99 KB on sm_86, sm_89 and sm_120, 227 on sm_90
};

struct LaunchRecord {
    std::string kernel;
    Extent grid;
    Extent block;
    std::size_t shared_bytes = 0;  ///< of one block, static and dynamic
    std::uint64_t barriers = 0;    ///< of all blocks
    Traffic traffic;
};

struct Launch {
    const char* kernel = "";
    Extent grid;
    Extent block;
    std::size_t dynamic_shared_bytes = 0;
    void (*call)(const void* arguments) = nullptr;  ///< the kernel with its arguments, as one lane
    const void* arguments = nullptr;
    std::size_t argument_bytes = 0;
};

/// Whether this library was compiled with the hooks; without them only ASan sees what lanes touch.
bool hooks_are_compiled_in();

class Emulator {
  public:
    static Emulator& instance();

    std::mutex mutex;  ///< held by whoever calls what follows
    Options options;
    DeviceMemory memory;
    Findings findings;
    bool keep_records = false;
    std::vector<LaunchRecord> records;                 ///< where kept
    std::vector<std::unique_ptr<Fiber>> spare_fibers;  ///< of launches before

    /// Runs a kernel to its end. False where it could not be run, or was given up; findings say why.
    bool run(const Launch& launch);
};

}  // namespace rfkernels::emulation
