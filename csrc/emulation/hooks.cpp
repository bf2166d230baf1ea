// What GCC and Clang call before every load and store of code compiled with -fsanitize=thread. The sanitizer's own
// library is not linked; these stand in its place (as Linux's KCSAN has it). Without RFK_EMULATION_HOOKS they are
// absent.

#include <cstddef>

#include "emulation/lane.h"

namespace rfkernels::emulation {

bool hooks_are_compiled_in() {
#if defined(RFK_EMULATION_HOOKS)
    return true;
#else
    return false;
#endif
}

}  // namespace rfkernels::emulation

#if defined(RFK_EMULATION_HOOKS)

#define RFK_HOOK __attribute__((visibility("hidden"), used)) void
#define RFK_PLACE __builtin_return_address(0)

// A volatile access is what csrc/device/kernel.h makes of a load or store that is racy on purpose.
#define RFK_HOOKS_OF_SIZE(size)                                                            \
    RFK_HOOK __tsan_read##size(void* address) {                                            \
        rfkernels::emulation::lane::access(address, size, false, RFK_PLACE);               \
    }                                                                                      \
    RFK_HOOK __tsan_write##size(void* address) {                                           \
        rfkernels::emulation::lane::access(address, size, true, RFK_PLACE);                \
    }                                                                                      \
    RFK_HOOK __tsan_unaligned_read##size(void* address) {                                  \
        rfkernels::emulation::lane::access(address, size, false, RFK_PLACE);               \
    }                                                                                      \
    RFK_HOOK __tsan_unaligned_write##size(void* address) {                                 \
        rfkernels::emulation::lane::access(address, size, true, RFK_PLACE);                \
    }                                                                                      \
    RFK_HOOK __tsan_volatile_read##size(void* address) {                                   \
        rfkernels::emulation::lane::marked_access(address, size, false, false, RFK_PLACE); \
    }                                                                                      \
    RFK_HOOK __tsan_volatile_write##size(void* address) {                                  \
        rfkernels::emulation::lane::marked_access(address, size, true, false, RFK_PLACE);  \
    }

extern "C" {
RFK_HOOK __tsan_init() {}
RFK_HOOK __tsan_func_entry(void*) {}
RFK_HOOK __tsan_func_exit() {}
RFK_HOOKS_OF_SIZE(1)
RFK_HOOKS_OF_SIZE(2)
RFK_HOOKS_OF_SIZE(4)
RFK_HOOKS_OF_SIZE(8)
RFK_HOOKS_OF_SIZE(16)

// Of whole structures: byte by byte would be slow, and wider than its parts it need not be aligned.
RFK_HOOK __tsan_read_range(void* address, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
        rfkernels::emulation::lane::access(static_cast<char*>(address) + i, 1, false, RFK_PLACE);
    }
}
RFK_HOOK __tsan_write_range(void* address, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
        rfkernels::emulation::lane::access(static_cast<char*>(address) + i, 1, true, RFK_PLACE);
    }
}
}

#endif
