#pragma once

#include <string>
#include <vector>

#include "rfkernels/status.h"

namespace rfkernels {

/// The kernels are compiled once for each of these and one is picked at run time. All give the same bytes.
enum class InstructionSet {
    kBaseline,  ///< x86-64-v2 (SSE4.2), or what the compiler targets elsewhere (NEON on Arm)
    kAvx2,      ///< with FMA and F16C
    kAvx512,    ///< F, BW, CD, DQ, VL
};

/// "baseline", "avx2" or "avx512".
const char* name_of(InstructionSet instruction_set);

/// Those that this build holds and this machine runs, the widest last. Never empty.
std::vector<InstructionSet> supported_instruction_sets();

/// The one in use: the widest supported, unless the environment's RFKERNELS_INSTRUCTION_SET or
/// `force_instruction_set` said otherwise. A name in the environment that this machine does not support is an
/// error of the first op that is called, not a silent fallback.
Status active_instruction_set(InstructionSet* result);

/// For tests and benchmarks: use `name` from now on, in all threads; "auto" goes back to the widest.
Status force_instruction_set(const std::string& name);

}  // namespace rfkernels
