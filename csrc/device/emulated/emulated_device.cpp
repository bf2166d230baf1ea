#include "device/emulated/emulated_device.h"

#include <unistd.h>

#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "device/guarded.h"
#include "device/launch.h"
#include "device/launch_error.h"
#include "device/open.h"
#include "device/pageable_in_capture.h"
#include "emulation/emulation.h"

namespace rfkernels::emulated {
namespace {

using emulation::Emulator;
using emulation::Region;

constexpr const char* kNoMemory = "no memory for work on the emulated device";

std::string text(const emulation::Extent& extent) {
    return std::to_string(extent.x) + " x " + std::to_string(extent.y) + " x " + std::to_string(extent.z);
}

Status run_kernel(const emulation::Launch& launch) {
    Emulator& emulator = Emulator::instance();
    const std::lock_guard<std::mutex> lock(emulator.mutex);
    const std::size_t before = emulator.findings.size();
    if (emulator.run(launch)) return Status();
    std::string why = "it was given up";
    if (emulator.findings.size() > before) why = emulator.findings[emulator.findings.size() - 1].message;
    return Status::device_error("kernel " + std::string(launch.kernel) + " (grid " + text(launch.grid) + ", block " +
                                text(launch.block) + ") failed on the emulated device: " + why);
}

/// All that the host has: memory is poisoned when it is given, so that more than this would not only be promised.
std::size_t host_memory_bytes() {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0) return std::numeric_limits<std::size_t>::max() / 2;
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(page_bytes);
}

/// What a GPU says of such an allocation too.
Status does_not_fit(std::size_t bytes, const char* purpose) {
    return Status::device_error("allocation of " + std::to_string(bytes) + " bytes for " + purpose +
                                " failed on the emulated device, whose memory is the host's; free memory or ask for "
                                "less");
}

}  // namespace

bool enqueue_launch(const char* name, const LaunchShape& shape, void (*call)(const void*), const void* arguments,
                    std::size_t argument_bytes, Stream stream) {
    const Status status = guarded(kNoMemory, [&]() -> Status {
        emulation::Launch launch;
        launch.kernel = name;
        launch.grid = {shape.grid.x, shape.grid.y, shape.grid.z};
        launch.block = {shape.block.x, shape.block.y, shape.block.z};
        launch.dynamic_shared_bytes = shape.dynamic_shared_bytes;
        launch.call = call;
        launch.argument_bytes = argument_bytes;
        // Words of 16 bytes, so that arguments are aligned as they were.
        struct alignas(16) Word {
            char bytes[16];
        };
        const auto copied = std::make_shared<std::vector<Word>>((argument_bytes + 15) / 16);
        std::memcpy(copied->data(), arguments, argument_bytes);
        return EmulatedDevice::instance().enqueue_kernel(stream, [launch, copied]() mutable {
            launch.arguments = copied->data();
            return run_kernel(launch);
        });
    });
    if (status.ok()) return true;
    keep_launch_error(status);
    return false;
}

Status open_device(int ordinal, std::shared_ptr<Device>* device) {
    if (ordinal != 0) {
        return Status::unavailable("there is no emulated device " + std::to_string(ordinal) + "; the only one is 0");
    }
    *device = EmulatedDevice::shared();
    return Status();
}

std::shared_ptr<EmulatedDevice> EmulatedDevice::shared() {
    static const std::shared_ptr<EmulatedDevice> device(new EmulatedDevice());
    return device;
}

EmulatedDevice& EmulatedDevice::instance() {
    return *shared();
}

void EmulatedDevice::set_eager(bool eager) {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    eager_ = eager;
}

Status EmulatedDevice::find(Stream handle, EmulatedStream** stream) {
    *stream = handle == nullptr ? &default_stream_ : static_cast<EmulatedStream*>(handle);
    if (streams_.count(*stream) != 0) return Status();
    return Status::invalid_argument("stream is not one of the emulated device; it was destroyed, or is another's");
}

Status EmulatedDevice::allocate_as(int kind, std::size_t bytes, const char* purpose, void** memory) {
    return guarded("no memory left on the emulated device", [&]() -> Status {
        if (bytes > host_memory_bytes()) return does_not_fit(bytes, purpose);
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        Emulator& emulator = Emulator::instance();
        const std::lock_guard<std::mutex> emulator_lock(emulator.mutex);
        try {
            *memory = emulator.memory.allocate(bytes, static_cast<Region::Kind>(kind), purpose);
        } catch (const std::bad_alloc&) {
            return does_not_fit(bytes, purpose);
        }
        return Status();
    });
}

Status EmulatedDevice::release_as(int kind, void* memory) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        if (memory == nullptr) return Status();
        // As on a GPU: what is on its way uses the memory to its end.
        for (EmulatedStream* stream : streams_) advance(stream, stream->end());
        Emulator& emulator = Emulator::instance();
        const std::lock_guard<std::mutex> emulator_lock(emulator.mutex);
        const Region* region = emulator.memory.find(memory);
        const bool is_other = region != nullptr && region->kind != static_cast<Region::Kind>(kind);
        if (is_other || !emulator.memory.release(memory)) {
            return Status::invalid_argument("memory to be released is no allocation of this kind, or was released");
        }
        return Status();
    });
}

Status EmulatedDevice::allocate(std::size_t bytes, const char* purpose, void** memory) {
    return allocate_as(static_cast<int>(Region::Kind::kDevice), bytes, purpose, memory);
}

Status EmulatedDevice::release(void* memory) {
    return release_as(static_cast<int>(Region::Kind::kDevice), memory);
}

Status EmulatedDevice::allocate_pinned(std::size_t bytes, const char* purpose, void** memory) {
    return allocate_as(static_cast<int>(Region::Kind::kPinnedHost), bytes, purpose, memory);
}

Status EmulatedDevice::release_pinned(void* memory) {
    return release_as(static_cast<int>(Region::Kind::kPinnedHost), memory);
}

Status EmulatedDevice::locate(const void* address, MemoryPlace* place) {
    Emulator& emulator = Emulator::instance();
    const std::lock_guard<std::mutex> lock(emulator.mutex);
    const Region* region = emulator.memory.find(address);
    if (region == nullptr || region->freed) {
        *place = MemoryPlace::kPageableHost;
    } else {
        *place = region->kind == Region::Kind::kDevice ? MemoryPlace::kDevice : MemoryPlace::kPinnedHost;
    }
    return Status();
}

Status EmulatedDevice::create_stream(Stream* stream) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        auto made = std::make_unique<EmulatedStream>();
        streams_.insert(made.get());
        *stream = made.release();
        return Status();
    });
}

/// What every call that is given a stream begins with.
template <typename Body>
Status EmulatedDevice::on_stream(Stream handle, const Body& body) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        EmulatedStream* stream = nullptr;
        const Status status = find(handle, &stream);
        return status.ok() ? body(stream) : status;
    });
}

Status EmulatedDevice::destroy_stream(Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        if (stream == &default_stream_) return Status();
        if (stream->capture != nullptr) {
            return Status::invalid_argument("stream is captured; end the capture before it is destroyed");
        }
        advance(stream, stream->end());
        const Status error = take_error(stream);
        for (EmulatedEvent* event : events_) {
            if (event->stream == stream) event->stream = nullptr;
        }
        streams_.erase(stream);
        delete stream;
        return error;
    });
}

void EmulatedDevice::advance(EmulatedStream* stream, std::uint64_t position) {
    while (stream->done < position && !stream->queue.empty()) {
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        ++stream->done;
        // After an error nothing more runs on a GPU either, until it has been reported.
        if (!stream->error.ok()) continue;
        stream->error = work.run();
    }
}

Status EmulatedDevice::take_error(EmulatedStream* stream) {
    return std::exchange(stream->error, Status());
}

Status EmulatedDevice::enqueue(EmulatedStream* stream, Work work) {
    if (stream->capture != nullptr) {
        stream->capture->work.push_back(std::move(work));
        return Status();
    }
    counted_.bytes_to_device += work.bytes_to_device;
    counted_.bytes_to_host += work.bytes_to_host;
    if (work.is_kernel) ++counted_.kernel_launches;
    stream->queue.push_back(std::move(work));
    if (eager_) advance(stream, stream->end());
    return Status();
}

Status EmulatedDevice::enqueue_kernel(Stream handle, std::function<Status()> kernel) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        Work work;
        work.run = std::move(kernel);
        work.is_kernel = true;
        return enqueue(stream, std::move(work));
    });
}

Status EmulatedDevice::synchronize(Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        if (stream->capture != nullptr) {
            return Status::invalid_argument(
                "synchronize was called for a stream that is captured; end the capture first");
        }
        ++counted_.synchronizations;
        advance(stream, stream->end());
        return take_error(stream);
    });
}

/// Memory that a copy touches must be one allocation's, where it is the device's.
Status EmulatedDevice::check_range(const char* call, const void* address, std::size_t bytes, bool on_device) {
    Emulator& emulator = Emulator::instance();
    const std::lock_guard<std::mutex> lock(emulator.mutex);
    const Region* region = emulator.memory.find(address);
    const bool is_device = region != nullptr && region->kind == Region::Kind::kDevice;
    // Not address + bytes: with a size that fits no memory that would be an address below.
    if (region != nullptr &&
        (region->freed || bytes > static_cast<std::size_t>(region->end() - static_cast<const char*>(address)))) {
        return Status::invalid_argument(std::string(call) + " of " + std::to_string(bytes) + " bytes leaves " +
                                        region->name + " (" + std::to_string(region->bytes) +
                                        (region->freed ? " bytes, released)" : " bytes)"));
    }
    if (is_device != on_device && bytes > 0) {
        return Status::invalid_argument(std::string(call) + " was given " + (is_device ? "device" : "host") +
                                        " memory where the " + (on_device ? "device's" : "host's") + " is wanted");
    }
    return Status();
}

Status EmulatedDevice::copy(void* to, const void* from, std::size_t bytes, CopyDirection direction, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        Status status = check_range("copy to", to, bytes, direction != CopyDirection::kToHost);
        if (status.ok()) status = check_range("copy from", from, bytes, direction != CopyDirection::kToDevice);
        if (!status.ok()) return status;
        MemoryPlace place = MemoryPlace::kDevice;
        if (direction == CopyDirection::kToDevice) status = locate(from, &place);
        if (direction == CopyDirection::kToHost) status = locate(to, &place);
        if (!status.ok()) return status;
        const bool is_pageable = place == MemoryPlace::kPageableHost;
        if (is_pageable && bytes > 0 && stream->capture != nullptr) return pageable_in_capture(bytes, direction);
        Work work;
        work.bytes_to_device = direction == CopyDirection::kToDevice ? bytes : 0;
        work.bytes_to_host = direction == CopyDirection::kToHost ? bytes : 0;
        std::shared_ptr<std::vector<char>> staged;
        if (is_pageable && direction == CopyDirection::kToDevice) {
            staged = std::make_shared<std::vector<char>>(static_cast<const char*>(from),
                                                         static_cast<const char*>(from) + bytes);
        }
        work.run = [to, from, bytes, staged]() -> Status {
            if (bytes > 0) std::memcpy(to, staged != nullptr ? staged->data() : from, bytes);
            Emulator& emulator = Emulator::instance();
            const std::lock_guard<std::mutex> emulator_lock(emulator.mutex);
            emulator.memory.mark_initialised(to, bytes);
            return Status();
        };
        status = enqueue(stream, std::move(work));
        if (!status.ok() || !is_pageable || direction != CopyDirection::kToHost) return status;
        ++counted_.synchronizations;
        advance(stream, stream->end());
        return take_error(stream);
    });
}

Status EmulatedDevice::fill(void* memory, std::uint8_t byte, std::size_t bytes, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        const Status status = check_range("fill", memory, bytes, true);
        if (!status.ok()) return status;
        Work work;
        work.run = [memory, byte, bytes]() -> Status {
            if (bytes > 0) std::memset(memory, byte, bytes);
            Emulator& emulator = Emulator::instance();
            const std::lock_guard<std::mutex> emulator_lock(emulator.mutex);
            emulator.memory.mark_initialised(memory, bytes);
            return Status();
        };
        return enqueue(stream, std::move(work));
    });
}

Status EmulatedDevice::call_host(void (*function)(void*), void* argument, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        Work work;
        work.run = [function, argument]() -> Status {
            function(argument);
            return Status();
        };
        return enqueue(stream, std::move(work));
    });
}

Status EmulatedDevice::create_event(Event* event) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        auto made = std::make_unique<EmulatedEvent>();
        events_.insert(made.get());
        *event = made.release();
        return Status();
    });
}

Status EmulatedDevice::destroy_event(Event event) {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    EmulatedEvent* known = static_cast<EmulatedEvent*>(event);
    if (events_.erase(known) == 0) return Status::invalid_argument("event is not one of the emulated device");
    delete known;
    return Status();
}

Status EmulatedDevice::record_event(Event event, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        EmulatedEvent* known = static_cast<EmulatedEvent*>(event);
        if (events_.count(known) == 0) return Status::invalid_argument("event is not one of the emulated device");
        known->captured_in = stream->capture;
        known->stream = stream;
        known->position = stream->end();
        return Status();
    });
}

Status EmulatedDevice::wait_event(Event event, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        EmulatedEvent* known = static_cast<EmulatedEvent*>(event);
        if (events_.count(known) == 0) return Status::invalid_argument("event is not one of the emulated device");
        if (known->captured_in != nullptr) {
            // A graph's work stands in the order it was issued in, which waits for all that must be waited for.
            stream->capture = known->captured_in;
            return Status();
        }
        EmulatedStream* other = known->stream;
        const std::uint64_t position = known->position;
        if (other == nullptr || other == stream) return Status();
        Work work;
        work.run = [this, other, position]() -> Status {
            if (streams_.count(other) != 0) advance(other, position);
            return Status();
        };
        return enqueue(stream, std::move(work));
    });
}

Status EmulatedDevice::synchronize_event(Event event) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        EmulatedEvent* known = static_cast<EmulatedEvent*>(event);
        if (events_.count(known) == 0) return Status::invalid_argument("event is not one of the emulated device");
        if (known->captured_in != nullptr) {
            return Status::invalid_argument(
                "synchronize_event was called for an event of a capture, which nothing has run of; end the capture "
                "first");
        }
        ++counted_.synchronizations;
        if (known->stream == nullptr) return Status();
        advance(known->stream, known->position);
        return take_error(known->stream);
    });
}

Status EmulatedDevice::query_event(Event event, bool* is_done) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::lock_guard<std::recursive_mutex> lock(mutex_);
        EmulatedEvent* known = static_cast<EmulatedEvent*>(event);
        if (events_.count(known) == 0) return Status::invalid_argument("event is not one of the emulated device");
        if (known->captured_in != nullptr) {
            return Status::invalid_argument(
                "query_event was called for an event of a capture, which nothing has run of; end the capture first");
        }
        *is_done = known->stream == nullptr || known->stream->done >= known->position;
        return Status();
    });
}

Status EmulatedDevice::is_captured(Stream handle, bool* captured) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        *captured = stream->capture != nullptr;
        return Status();
    });
}

Status EmulatedDevice::begin_capture(Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        if (stream == &default_stream_) {
            return Status::invalid_argument("the default stream cannot be captured; make a stream");
        }
        if (stream->capture != nullptr) return Status::invalid_argument("stream is being captured already");
        auto graph = std::make_unique<EmulatedGraph>();
        graphs_.insert(graph.get());
        stream->capture = graph.release();
        return Status();
    });
}

Status EmulatedDevice::end_capture(Stream handle, Graph* graph) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        if (stream->capture == nullptr) return Status::invalid_argument("stream is not being captured");
        EmulatedGraph* made = stream->capture;
        for (EmulatedStream* other : streams_) {
            if (other->capture == made) other->capture = nullptr;
        }
        for (EmulatedEvent* event : events_) {
            if (event->captured_in == made) *event = EmulatedEvent();
        }
        *graph = made;
        return Status();
    });
}

Status EmulatedDevice::destroy_graph(Graph graph) {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    EmulatedGraph* known = static_cast<EmulatedGraph*>(graph);
    if (graphs_.erase(known) == 0) return Status::invalid_argument("graph is not one of the emulated device");
    delete known;
    return Status();
}

Status EmulatedDevice::launch_graph(Graph graph, Stream handle) {
    return on_stream(handle, [&](EmulatedStream* stream) -> Status {
        if (stream->capture != nullptr) {
            return Status::invalid_argument(
                "a graph cannot be put on a stream that is captured; end the capture first");
        }
        const EmulatedGraph* known = static_cast<EmulatedGraph*>(graph);
        if (graphs_.count(static_cast<EmulatedGraph*>(graph)) == 0) {
            return Status::invalid_argument("graph is not one of the emulated device");
        }
        ++counted_.graph_launches;
        for (const Work& work : known->work) {
            counted_.bytes_to_device += work.bytes_to_device;
            counted_.bytes_to_host += work.bytes_to_host;
            if (work.is_kernel) ++counted_.kernels_in_graphs;
            stream->queue.push_back(work);
        }
        if (eager_) advance(stream, stream->end());
        return Status();
    });
}

}  // namespace rfkernels::emulated
