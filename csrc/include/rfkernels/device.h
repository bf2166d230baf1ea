#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

enum class DeviceKind {
    kCuda,      ///< an NVIDIA GPU; its primary context, as the CUDA runtime, torch and CuPy use it
    kEmulated,  ///< the same kernels on the CPU, for machines without a GPU: slow, and every access can be checked
};

/// "cuda" or "emulated".
const char* name_of(DeviceKind kind);

enum class MemoryPlace {
    kDevice,
    kPinnedHost,    ///< of the host, and kernels can read it
    kPageableHost,  ///< of the host alone
    kOtherDevice,
};

enum class CopyDirection { kToDevice, kToHost, kWithinDevice };

using Event = void*;  ///< a cudaEvent_t on a GPU
using Graph = void*;  ///< of launches and copies that were captured, ready to be put on a stream at once

/// What a device was asked for since it was opened.
struct DeviceCounters {
    std::uint64_t kernel_launches = 0;  ///< put on a stream singly, not those of graphs
    std::uint64_t graph_launches = 0;
    std::uint64_t kernels_in_graphs = 0;  ///< that launched graphs held
    std::uint64_t synchronizations = 0;   ///< times that the host waited
    std::uint64_t bytes_to_device = 0;    ///< copied, in graphs too
    std::uint64_t bytes_to_host = 0;
};

/// A GPU or its emulation: memory, streams, events, graphs. What is put on a stream runs in order, later; nothing here
/// waits but `synchronize`, `synchronize_event`, `release` and `release_pinned` of memory that may be in use, and
/// copies to or from pageable memory.
///
/// Every failure is a Status that names the call and what it was given. An error of a kernel that ran comes back from
/// the next call that waits for it.
///
/// May be used from many threads; a stream from one at a time. While another thread captures a stream, another
/// library's too and in whatever mode, everything here may be called and leaves that capture as it is.
///
/// A call leaves the thread's current GPU as it found it, and uses no other GPU than this one.
class Device {
  public:
    /// The device number `ordinal` of its kind. kUnavailable, saying why, where there is none: no driver, no GPU, a
    /// build without CUDA or without the emulation.
    static Status open(DeviceKind kind, int ordinal, std::shared_ptr<Device>* device);

    virtual ~Device() = default;
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    DeviceKind kind() const { return kind_; }
    int ordinal() const { return ordinal_; }
    virtual std::string name() const = 0;

    /// `purpose` is a literal: it names the memory in messages. 256-byte aligned. Where so much does not fit, the
    /// message says how much was asked for, and `memory` is left as it was.
    virtual Status allocate(std::size_t bytes, const char* purpose, void** memory) = 0;
    /// Waits for what is on the streams that `create_stream` made, captures apart, so that none of it uses the memory
    /// any more. A stream of the caller's own is for the caller to wait for, as is a graph that is launched later.
    virtual Status release(void* memory) = 0;
    virtual Status allocate_pinned(std::size_t bytes, const char* purpose, void** memory) = 0;
    /// Waits as `release` does: kernels and copies read and write pinned memory without the host.
    virtual Status release_pinned(void* memory) = 0;
    virtual Status locate(const void* address, MemoryPlace* place) = 0;

    virtual Status create_stream(Stream* stream) = 0;
    virtual Status destroy_stream(Stream stream) = 0;
    virtual Status synchronize(Stream stream) = 0;
    /// A copy from pageable memory has read it when this returns; one to pageable memory is complete. On a captured
    /// stream both are kInvalidArgument: the graph would keep an address that soon holds something else.
    virtual Status copy(void* to, const void* from, std::size_t bytes, CopyDirection direction, Stream stream) = 0;
    virtual Status fill(void* memory, std::uint8_t byte, std::size_t bytes, Stream stream) = 0;
    /// Calls function(argument) on a thread of the host when the stream comes to it. It may not use the device.
    virtual Status call_host(void (*function)(void*), void* argument, Stream stream) = 0;

    virtual Status create_event(Event* event) = 0;
    virtual Status destroy_event(Event event) = 0;
    virtual Status record_event(Event event, Stream stream) = 0;
    /// What comes later on the stream waits for what came before the event's record.
    virtual Status wait_event(Event event, Stream stream) = 0;
    virtual Status synchronize_event(Event event) = 0;
    /// Whether what came before the event's record is done, without waiting. An event of a capture cannot be asked.
    virtual Status query_event(Event event, bool* is_done) = 0;

    /// What is put on the stream from now on is kept, not run; streams that wait for its events belong to it.
    virtual Status begin_capture(Stream stream) = 0;
    virtual Status end_capture(Stream stream, Graph* graph) = 0;
    virtual Status is_captured(Stream stream, bool* captured) = 0;
    virtual Status destroy_graph(Graph graph) = 0;
    virtual Status launch_graph(Graph graph, Stream stream) = 0;

    DeviceCounters counters() const;

  protected:
    Device(DeviceKind kind, int ordinal) : kind_(kind), ordinal_(ordinal) {}

    struct AtomicCounters {
        std::atomic<std::uint64_t> kernel_launches{0};
        std::atomic<std::uint64_t> graph_launches{0};
        std::atomic<std::uint64_t> kernels_in_graphs{0};
        std::atomic<std::uint64_t> synchronizations{0};
        std::atomic<std::uint64_t> bytes_to_device{0};
        std::atomic<std::uint64_t> bytes_to_host{0};
    };
    AtomicCounters counted_;

  private:
    DeviceKind kind_;
    int ordinal_;
};

}  // namespace rfkernels
