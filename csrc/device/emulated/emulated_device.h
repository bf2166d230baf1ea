#pragma once

// The emulated device's streams: queues of work that is done when somebody waits for it, and not before. What a program
// forgets to wait for stays undone, as it may on a GPU.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "rfkernels/device.h"

namespace rfkernels::emulated {

struct EmulatedStream;

/// Recorded at a stream's n-th piece of work.
struct EmulatedEvent {
    EmulatedStream* stream = nullptr;  ///< null: never recorded, which nobody waits for
    std::uint64_t position = 0;
    struct EmulatedGraph* captured_in = nullptr;
};

struct Work {
    std::function<Status()> run;
    bool is_kernel = false;
    std::size_t bytes_to_device = 0;
    std::size_t bytes_to_host = 0;
};

struct EmulatedGraph {
    std::vector<Work> work;
};

struct EmulatedStream {
    std::deque<Work> queue;
    std::uint64_t done = 0;  ///< pieces of work that were run
    Status error;            ///< of work that ran, until somebody waits
    EmulatedGraph* capture = nullptr;
    std::uint64_t end() const { return done + queue.size(); }
};

class EmulatedDevice final : public Device {
  public:
    static EmulatedDevice& instance();
    static std::shared_ptr<EmulatedDevice> shared();

    std::string name() const override { return "emulated device"; }
    Status allocate(std::size_t bytes, const char* purpose, void** memory) override;
    Status release(void* memory) override;
    Status allocate_pinned(std::size_t bytes, const char* purpose, void** memory) override;
    Status release_pinned(void* memory) override;
    Status locate(const void* address, MemoryPlace* place) override;
    Status create_stream(Stream* stream) override;
    Status destroy_stream(Stream stream) override;
    Status synchronize(Stream stream) override;
    Status copy(void* to, const void* from, std::size_t bytes, CopyDirection direction, Stream stream) override;
    Status fill(void* memory, std::uint8_t byte, std::size_t bytes, Stream stream) override;
    Status call_host(void (*function)(void*), void* argument, Stream stream) override;
    Status create_event(Event* event) override;
    Status destroy_event(Event event) override;
    Status record_event(Event event, Stream stream) override;
    Status wait_event(Event event, Stream stream) override;
    Status synchronize_event(Event event) override;
    Status query_event(Event event, bool* is_done) override;
    Status begin_capture(Stream stream) override;
    Status end_capture(Stream stream, Graph* graph) override;
    Status is_captured(Stream stream, bool* captured) override;
    Status destroy_graph(Graph graph) override;
    Status launch_graph(Graph graph, Stream stream) override;

    Status enqueue_kernel(Stream stream, std::function<Status()> kernel);

    /// Whether work is done at once when it is put on a stream: the other extreme of what a GPU may do.
    void set_eager(bool eager);

  private:
    EmulatedDevice() : Device(DeviceKind::kEmulated, 0) { streams_.insert(&default_stream_); }
    Status find(Stream handle, EmulatedStream** stream);
    template <typename Body>
    Status on_stream(Stream handle, const Body& body);
    Status enqueue(EmulatedStream* stream, Work work);
    void advance(EmulatedStream* stream, std::uint64_t position);
    Status take_error(EmulatedStream* stream);
    Status allocate_as(int kind, std::size_t bytes, const char* purpose, void** memory);
    Status release_as(int kind, void* memory);
    Status check_range(const char* call, const void* address, std::size_t bytes, bool on_device);

    std::recursive_mutex mutex_;  ///< work may put further work on a stream
    bool eager_ = false;
    EmulatedStream default_stream_;
    std::set<EmulatedStream*> streams_;
    std::set<EmulatedEvent*> events_;
    std::set<EmulatedGraph*> graphs_;
};

}  // namespace rfkernels::emulated
