#include "emulation/fiber.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <new>

// x86-64 has a switch of its own: ucontext makes two system calls for each.
#if defined(__x86_64__) && !defined(RFK_EMULATION_UCONTEXT)
#define RFK_OWN_SWITCH 1
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace rfkernels::emulation {

#if defined(RFK_OWN_SWITCH)
// Saves what the calling convention says a call leaves as it was, exchanges the stacks, restores.
extern "C" void rfkernels_switch_stack(void** saved, void* next) __attribute__((visibility("hidden")));
asm(R"(
.text
.type rfkernels_switch_stack, @function
rfkernels_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size rfkernels_switch_stack, .-rfkernels_switch_stack
)");

// The first switch to a fiber returns into this; r12 holds the fiber, r13 what to call.
extern "C" void rfkernels_fiber_start() __attribute__((visibility("hidden")));
asm(R"(
.text
.type rfkernels_fiber_start, @function
rfkernels_fiber_start:
    movq %r12, %rdi
    callq *%r13
    ud2
.size rfkernels_fiber_start, .-rfkernels_fiber_start
)");
#endif

Fiber::Fiber() {
    // A page that cannot be touched below the stack: an overflow is a fault, not somebody else's memory.
    constexpr std::size_t kGuardBytes = 4096;
    void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kGuardBytes, PROT_NONE);
    stack_ = static_cast<char*>(memory) + kGuardBytes;
    // The tops of all stacks, at the same place of their pages, would share a few lines of the cache.
    constexpr std::size_t kColours = 32;
    constexpr std::size_t kColourBytes = 128;
    static std::atomic<std::size_t> count{0};
    colour_ = count++ % kColours * kColourBytes;
#if !defined(RFK_OWN_SWITCH)
    fiber_context_ = new ucontext_t;
    caller_context_ = new ucontext_t;
#endif
}

Fiber::~Fiber() {
    constexpr std::size_t kGuardBytes = 4096;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_, kStackBytes);  // what is mapped here next
#endif
    munmap(stack_ - kGuardBytes, kStackBytes + kGuardBytes);
#if !defined(RFK_OWN_SWITCH)
    delete static_cast<ucontext_t*>(fiber_context_);
    delete static_cast<ucontext_t*>(caller_context_);
#endif
}

void Fiber::prepare(void (*entry)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
    // An abandoned call has left its frames' marks.
    if (!finished_) __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
    entry_ = entry;
    argument_ = argument;
    finished_ = false;
    fiber_fake_stack_ = nullptr;
#if defined(RFK_OWN_SWITCH)
    // At the entry of a function the stack pointer is 8 off a multiple of 16: rfkernels_fiber_start calls from one.
    void** top = reinterpret_cast<void**>(stack_ + kStackBytes - colour_) - 2;
    *--top = reinterpret_cast<void*>(&rfkernels_fiber_start);
    *--top = nullptr;                               // rbp
    *--top = nullptr;                               // rbx
    *--top = this;                                  // r12
    *--top = reinterpret_cast<void*>(&Fiber::run);  // r13
    *--top = nullptr;                               // r14
    *--top = nullptr;                               // r15
    fiber_context_ = top;
#else
    ucontext_t* context = static_cast<ucontext_t*>(fiber_context_);
    getcontext(context);
    context->uc_stack.ss_sp = stack_;
    context->uc_stack.ss_size = kStackBytes - colour_;
    context->uc_link = nullptr;
    const std::uintptr_t self = reinterpret_cast<std::uintptr_t>(this);
    // makecontext passes ints.
    makecontext(context, reinterpret_cast<void (*)()>(&Fiber::context_entry), 2, static_cast<unsigned>(self >> 32U),
                static_cast<unsigned>(self & 0xFFFFFFFFU));
#endif
}

void Fiber::context_entry(unsigned high, unsigned low) {
    run(reinterpret_cast<Fiber*>((static_cast<std::uintptr_t>(high) << 32U) | low));
}

void Fiber::run(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &fiber->caller_stack_, &fiber->caller_stack_bytes_);
#endif
    fiber->entry_(fiber->argument_);
    fiber->finished_ = true;
    fiber->leave(true);
}

void Fiber::resume() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&caller_fake_stack_, stack_, kStackBytes);
#endif
#if defined(RFK_OWN_SWITCH)
    rfkernels_switch_stack(&caller_context_, fiber_context_);
#else
    swapcontext(static_cast<ucontext_t*>(caller_context_), static_cast<ucontext_t*>(fiber_context_));
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(caller_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
    leave(false);
}

void Fiber::leave([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
    // A call that ends for good gives its fake stack back; one that goes on keeps it.
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber_fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
#if defined(RFK_OWN_SWITCH)
    rfkernels_switch_stack(&fiber_context_, caller_context_);
#else
    swapcontext(static_cast<ucontext_t*>(fiber_context_), static_cast<ucontext_t*>(caller_context_));
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber_fake_stack_, &caller_stack_, &caller_stack_bytes_);
#endif
}

}  // namespace rfkernels::emulation
