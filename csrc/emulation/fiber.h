#pragma once

// A call that can stop in the middle and go on later, on a stack of its own. One OS thread runs all fibers, one at a
// time; the thread that calls `resume` waits until the fiber calls `suspend` or its call returns.

#include <cstddef>

namespace rfkernels::emulation {

class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// The next `resume` calls entry(argument) from its beginning, whatever the fiber did before.
    void prepare(void (*entry)(void*), void* argument);
    /// Runs until the fiber suspends itself or its call returns. Not from within a fiber.
    void resume();
    /// From within the fiber that runs: back to whoever resumed it.
    void suspend();

    bool finished() const { return finished_; }
    bool holds(const void* address) const {
        const char* byte = static_cast<const char*>(address);
        return byte >= stack_ && byte < stack_ + kStackBytes;
    }

    // AddressSanitizer makes frames several times as large.
#if defined(__SANITIZE_ADDRESS__)
    static constexpr std::size_t kStackBytes = 256 << 10;
#else
    static constexpr std::size_t kStackBytes = 64 << 10;
#endif

  private:
    static void run(Fiber* fiber);
    static void context_entry(unsigned high, unsigned low);
    void leave(bool for_good);

    char* stack_ = nullptr;
    std::size_t colour_ = 0;  ///< bytes at the top of the stack that are left out
    void (*entry_)(void*) = nullptr;
    void* argument_ = nullptr;
    bool finished_ = true;
    void* fiber_context_ = nullptr;   // the stack pointer, or a ucontext_t
    void* caller_context_ = nullptr;  // likewise
    // What AddressSanitizer must know of a switch.
    void* fiber_fake_stack_ = nullptr;
    void* caller_fake_stack_ = nullptr;
    const void* caller_stack_ = nullptr;
    std::size_t caller_stack_bytes_ = 0;
};

}  // namespace rfkernels::emulation
