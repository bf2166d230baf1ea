#pragma once

#include "rfkernels/status.h"

namespace rfkernels {

/// Why the last launch on this thread could not be put on its stream; taken once.
Status take_launch_error();
void keep_launch_error(Status error);

/// For whoever launches: what RFK_LAUNCH's answer means.
inline Status launch_status(bool launched) {
    return launched ? Status() : take_launch_error();
}

}  // namespace rfkernels
