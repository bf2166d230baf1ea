#include "rfkernels/instruction_set.h"

#include <atomic>
#include <cstdlib>

#include "device/guarded.h"

#if defined(RFK_X86_VARIANTS)
#include <cpuid.h>
#endif

namespace rfkernels {
namespace {

constexpr int kAutomatic = -1;

#if defined(RFK_X86_VARIANTS)
/// GCC before 11 and Clang before 18 do not know "f16c" as a name for __builtin_cpu_supports. The registers it needs
/// are those of AVX, so that whoever asks for AVX2 too has asked whether the system saves them.
bool has_half_conversion() {
    unsigned int a = 0;
    unsigned int b = 0;
    unsigned int c = 0;
    unsigned int d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

std::string names_of_supported() {
    std::string names;
    for (InstructionSet instruction_set : supported_instruction_sets()) {
        if (!names.empty()) names += ", ";
        names += name_of(instruction_set);
    }
    return names;
}

Status parse(const std::string& name, const char* argument, int* choice) {
    if (name == "auto") {
        *choice = kAutomatic;
        return Status();
    }
    for (InstructionSet instruction_set : supported_instruction_sets()) {
        if (name == name_of(instruction_set)) {
            *choice = static_cast<int>(instruction_set);
            return Status();
        }
    }
    std::string shown(name);
    for (char& letter : shown) letter = letter >= ' ' && letter <= '~' ? letter : '?';  // messages are ASCII
    return Status::unavailable(std::string(argument) + " is \"" + shown + "\"; this machine runs " +
                               names_of_supported() + "; choose one of them or \"auto\"");
}

std::atomic<int>& forced_choice() {
    static std::atomic<int> choice{kAutomatic};
    return choice;
}

}  // namespace

const char* name_of(InstructionSet instruction_set) {
    switch (instruction_set) {
        case InstructionSet::kAvx2:
            return "avx2";
        case InstructionSet::kAvx512:
            return "avx512";
        case InstructionSet::kBaseline:
            break;
    }
    return "baseline";
}

std::vector<InstructionSet> supported_instruction_sets() {
    std::vector<InstructionSet> supported{InstructionSet::kBaseline};
#if defined(RFK_X86_VARIANTS)
    __builtin_cpu_init();
    // All that CMakeLists.txt lets the compiler use in a variant, also what no machine is known to lack: a virtual one
    // may hide anything.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_half_conversion();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx2) supported.push_back(InstructionSet::kAvx2);
    if (avx512) supported.push_back(InstructionSet::kAvx512);
#endif
    return supported;
}

Status active_instruction_set(InstructionSet* result) {
    return guarded("instruction set: not enough memory", [&]() -> Status {
        const int forced = forced_choice().load(std::memory_order_relaxed);
        if (forced != kAutomatic) {
            *result = static_cast<InstructionSet>(forced);
            return Status();
        }
        // Asked once: neither the machine nor, for our purpose, the environment changes while a process runs.
        struct Default {
            Status status;
            InstructionSet instruction_set = InstructionSet::kBaseline;
        };
        static const Default chosen = [] {
            Default value;
            value.instruction_set = supported_instruction_sets().back();
            const char* name = std::getenv("RFKERNELS_INSTRUCTION_SET");
            if (name != nullptr && *name != '\0') {
                int choice = kAutomatic;
                value.status = parse(name, "the environment variable RFKERNELS_INSTRUCTION_SET", &choice);
                if (value.status.ok() && choice != kAutomatic) {
                    value.instruction_set = static_cast<InstructionSet>(choice);
                }
            }
            return value;
        }();
        *result = chosen.instruction_set;
        return chosen.status;
    });
}

Status force_instruction_set(const std::string& name) {
    return guarded("instruction set: not enough memory", [&]() -> Status {
        int choice = kAutomatic;
        Status status = parse(name, "instruction set", &choice);
        if (status.ok()) forced_choice().store(choice, std::memory_order_relaxed);
        return status;
    });
}

}  // namespace rfkernels
