#include <string>

#include "check.h"
#include "rfkernels/instruction_set.h"

int main() {
    using namespace rfkernels;
    const auto supported = supported_instruction_sets();
    CHECK(!supported.empty());
    CHECK(supported.front() == InstructionSet::kBaseline);
    for (InstructionSet wanted : supported) {
        CHECK(force_instruction_set(name_of(wanted)).ok());
        InstructionSet active = InstructionSet::kBaseline;
        CHECK(active_instruction_set(&active).ok());
        CHECK(active == wanted);
    }
    const Status refused = force_instruction_set("sse9");
    CHECK(refused.code() == StatusCode::kUnavailable);
    CHECK(std::string(refused.message()).find("sse9") != std::string::npos);
    CHECK(std::string(refused.message()).find("baseline") != std::string::npos);
    CHECK(force_instruction_set("auto").ok());
    return 0;
}
