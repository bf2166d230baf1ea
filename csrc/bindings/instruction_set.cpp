#include "rfkernels/instruction_set.h"

#include "common.h"

namespace rfkernels::bindings {

void bind_instruction_set(py::module_& module) {
    module.def(
        "supported_instruction_sets",
        [] {
            py::list names;
            for (InstructionSet instruction_set : supported_instruction_sets()) names.append(name_of(instruction_set));
            return names;
        },
        "Names of the instruction sets that this build holds and this machine runs, the widest last.");
    module.def(
        "active_instruction_set",
        [] {
            InstructionSet instruction_set = InstructionSet::kBaseline;
            raise_if_failed(active_instruction_set(&instruction_set));
            return name_of(instruction_set);
        },
        "Name of the instruction set in use.");
    module.def(
        "force_instruction_set", [](const std::string& name) { raise_if_failed(force_instruction_set(name)); },
        py::arg("name"), "Use this instruction set from now on, in all threads; \"auto\" goes back to the widest.");
}

}  // namespace rfkernels::bindings
