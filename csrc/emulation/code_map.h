#pragma once

#include <string>

namespace rfkernels::emulation {

/// Whether an address lies in the read-only part of the program or library that the harness is linked into: constants.
bool is_constant(const void* address);

/// Whether it lies in the writable part of the same: a variable that a kernel cannot see on a GPU.
bool is_static_variable(const void* address);

/// A place in the code for a message, "code+0x1234": what `addr2line -e <library>` takes.
std::string name_of_place(const void* place);

}  // namespace rfkernels::emulation
