#pragma once

#include <new>
#include <stdexcept>

#include "rfkernels/status.h"

namespace rfkernels {

/// What keeps the promise that no C++ exception leaves an op: runs its body, and an allocation that fails anywhere in
/// it, in the text of an error too, becomes a status. Not for the files that are compiled once for each instruction
/// set: the linker would merge its instances.
template <typename Body>
Status guarded(const char* when_out_of_memory, const Body& body) {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory(when_out_of_memory);
    } catch (const std::length_error&) {  // a vector longer than any memory
        return Status::out_of_memory(when_out_of_memory);
    }
}

}  // namespace rfkernels
