// Streams, events and graphs of the emulated device: work is done when somebody waits and not before, or at once; in
// the order that streams and events say; by a graph again and again; and what fails is told once, by whoever waits.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "device/emulated/emulated_device.h"
#include "device_bench.h"
#include "rfkernels/device.h"

using namespace rfkernels;

namespace {

constexpr std::size_t kBytes = 64;

/// A stream, and pinned memory to see what was done.
struct Desk {
    std::shared_ptr<Device> device = emulated_device();
    Stream stream = nullptr;
    void* pinned = nullptr;

    Desk() {
        CHECK(device->create_stream(&stream).ok());
        CHECK(device->allocate_pinned(kBytes, "pinned", &pinned).ok());
        std::memset(pinned, 1, kBytes);
    }
    ~Desk() {
        CHECK(device->destroy_stream(stream).ok());
        CHECK(device->release_pinned(pinned).ok());
    }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;
    unsigned char* bytes() const { return static_cast<unsigned char*>(pinned); }
};

struct Calls {
    std::vector<int> numbers;
};
struct Call {
    Calls* calls;
    int number;
    static void run(void* self) {
        const Call* call = static_cast<Call*>(self);
        call->calls->numbers.push_back(call->number);
    }
};

void test_work_waits_until_somebody_does() {
    Calls calls;
    Call one{&calls, 1};
    const Desk desk;
    CHECK(desk.device->call_host(&Call::run, &one, desk.stream).ok());
    CHECK(calls.numbers.empty());
    CHECK(desk.device->synchronize(desk.stream).ok());
    CHECK(calls.numbers == std::vector<int>{1});
    emulated::EmulatedDevice::instance().set_eager(true);
    CHECK(desk.device->call_host(&Call::run, &one, desk.stream).ok());
    CHECK(calls.numbers.size() == 2);
    emulated::EmulatedDevice::instance().set_eager(false);
    {
        const Desk short_lived;
        CHECK(short_lived.device->call_host(&Call::run, &one, short_lived.stream).ok());
        CHECK(calls.numbers.size() == 2);
    }
    CHECK(calls.numbers.size() == 3);
}

void test_copies_read_when_they_run() {
    const Desk desk;
    OnDevice memory(*desk.device, kBytes, "memory");
    // From pinned memory what is there when the copy runs, from pageable memory what was there when it was asked for.
    CHECK(desk.device->copy(memory.get(), desk.pinned, kBytes, CopyDirection::kToDevice, desk.stream).ok());
    std::memset(desk.pinned, 2, kBytes);
    CHECK(memory.download<unsigned char>(desk.stream)[0] == 2);
    std::vector<unsigned char> pageable(kBytes, 3);
    CHECK(desk.device->copy(memory.get(), pageable.data(), kBytes, CopyDirection::kToDevice, desk.stream).ok());
    pageable.assign(kBytes, 4);
    CHECK(memory.download<unsigned char>(desk.stream)[kBytes - 1] == 3);
}

void test_events_order_streams() {
    Calls calls;
    Call one{&calls, 1};
    Call two{&calls, 2};
    Call three{&calls, 3};
    // A stream does its work at the latest when it goes: what it calls is declared before it.
    const Desk desk;
    Stream other = nullptr;
    Event event = nullptr;
    CHECK(desk.device->create_stream(&other).ok());
    CHECK(desk.device->create_event(&event).ok());
    CHECK(desk.device->call_host(&Call::run, &one, desk.stream).ok());
    CHECK(desk.device->record_event(event, desk.stream).ok());
    CHECK(desk.device->call_host(&Call::run, &three, desk.stream).ok());
    CHECK(desk.device->wait_event(event, other).ok());
    CHECK(desk.device->call_host(&Call::run, &two, other).ok());
    // To ask is not to wait.
    bool is_done = true;
    CHECK(desk.device->query_event(event, &is_done).ok());
    CHECK(!is_done && calls.numbers.empty());
    CHECK(desk.device->synchronize(other).ok());
    CHECK(desk.device->query_event(event, &is_done).ok());
    CHECK(is_done);
    // What came after the event has no reason to be done.
    CHECK((calls.numbers == std::vector<int>{1, 2}));
    CHECK(desk.device->synchronize_event(event).ok());
    CHECK(calls.numbers.size() == 2);
    CHECK(desk.device->destroy_event(event).ok());
    CHECK(!desk.device->destroy_event(event).ok());
    CHECK(!desk.device->query_event(event, &is_done).ok());
    CHECK(desk.device->destroy_stream(other).ok());
    CHECK(!desk.device->synchronize(other).ok());
}

void test_a_graph_does_its_work_again() {
    Calls calls;
    Call one{&calls, 1};
    Call two{&calls, 2};
    const Desk desk;
    Stream other = nullptr;
    Event fork = nullptr;
    Event join = nullptr;
    CHECK(desk.device->create_stream(&other).ok());
    CHECK(desk.device->create_event(&fork).ok());
    CHECK(desk.device->create_event(&join).ok());
    OnDevice memory(*desk.device, kBytes, "memory");
    CHECK(desk.device->begin_capture(desk.stream).ok());
    CHECK(!desk.device->begin_capture(desk.stream).ok());
    CHECK(desk.device->copy(memory.get(), desk.pinned, kBytes, CopyDirection::kToDevice, desk.stream).ok());
    CHECK(desk.device->call_host(&Call::run, &one, desk.stream).ok());
    // Another stream that waits for this one belongs to the graph too.
    CHECK(desk.device->record_event(fork, desk.stream).ok());
    CHECK(desk.device->wait_event(fork, other).ok());
    CHECK(desk.device->call_host(&Call::run, &two, other).ok());
    CHECK(desk.device->record_event(join, other).ok());
    CHECK(desk.device->wait_event(join, desk.stream).ok());
    CHECK(!desk.device->synchronize(desk.stream).ok());
    CHECK(!desk.device->synchronize_event(fork).ok());
    CHECK(!desk.device->destroy_stream(other).ok());
    bool is_done = false;
    CHECK(!desk.device->query_event(fork, &is_done).ok());
    bool is_captured = false;
    CHECK(desk.device->is_captured(other, &is_captured).ok());
    CHECK(is_captured);
    Graph graph = nullptr;
    CHECK(desk.device->end_capture(desk.stream, &graph).ok());
    CHECK(desk.device->is_captured(desk.stream, &is_captured).ok());
    CHECK(!is_captured);
    CHECK(!desk.device->end_capture(desk.stream, &graph).ok());
    CHECK(calls.numbers.empty());
    const DeviceCounters before = desk.device->counters();
    for (unsigned char value : {5, 6}) {
        std::memset(desk.pinned, value, kBytes);
        CHECK(desk.device->launch_graph(graph, desk.stream).ok());
        CHECK(desk.device->synchronize(desk.stream).ok());
        CHECK(memory.download<unsigned char>(desk.stream)[0] == value);
    }
    CHECK((calls.numbers == std::vector<int>{1, 2, 1, 2}));
    const DeviceCounters after = desk.device->counters();
    CHECK(after.graph_launches - before.graph_launches == 2);
    CHECK(after.bytes_to_device - before.bytes_to_device == 2 * kBytes);
    // Into a capture no graph can be put.
    CHECK(desk.device->begin_capture(desk.stream).ok());
    CHECK(!desk.device->launch_graph(graph, desk.stream).ok());
    Graph empty = nullptr;
    CHECK(desk.device->end_capture(desk.stream, &empty).ok());
    CHECK(desk.device->destroy_graph(empty).ok());
    CHECK(desk.device->destroy_graph(graph).ok());
    CHECK(!desk.device->destroy_graph(graph).ok());
    CHECK(!desk.device->launch_graph(graph, desk.stream).ok());
    CHECK(desk.device->destroy_event(fork).ok());
    CHECK(desk.device->destroy_event(join).ok());
    CHECK(desk.device->destroy_stream(other).ok());
}

/// A graph keeps addresses: of pageable memory it would read, or write, whatever lies there when it is launched.
void test_pageable_memory_is_refused_in_a_capture() {
    const Desk desk;
    Device& device = *desk.device;
    OnDevice memory(device, kBytes, "memory");
    std::vector<unsigned char> pageable(kBytes, 7);
    memory.fill(9, desk.stream);
    CHECK(device.begin_capture(desk.stream).ok());
    for (const CopyDirection direction : {CopyDirection::kToDevice, CopyDirection::kToHost}) {
        const bool to_host = direction == CopyDirection::kToHost;
        void* to = to_host ? pageable.data() : memory.get();
        const void* from = to_host ? memory.get() : pageable.data();
        const Status status = device.copy(to, from, kBytes, direction, desk.stream);
        CHECK(status.code() == StatusCode::kInvalidArgument);
        const char* way = to_host ? "copy of 64 bytes to pageable" : "copy of 64 bytes from pageable";
        CHECK(std::strstr(status.message(), way) != nullptr);
        CHECK(std::strstr(status.message(), "give pinned memory") != nullptr);
        CHECK(device.copy(to, from, 0, direction, desk.stream).ok());
    }
    // The capture goes on, and holds what was not refused.
    CHECK(device.copy(desk.pinned, memory.get(), kBytes, CopyDirection::kToHost, desk.stream).ok());
    Graph graph = nullptr;
    CHECK(device.end_capture(desk.stream, &graph).ok());
    CHECK(device.launch_graph(graph, desk.stream).ok());
    CHECK(device.synchronize(desk.stream).ok());
    CHECK(desk.bytes()[0] == 9);
    CHECK(pageable == std::vector<unsigned char>(kBytes, 7));
    CHECK(device.destroy_graph(graph).ok());
}

/// What is on its way reads and writes memory to the end, on whichever stream it is.
void test_released_memory_is_waited_for() {
    Calls calls;
    Call one{&calls, 1};
    const Desk desk;
    Device& device = *desk.device;
    Stream captured = nullptr;
    CHECK(device.create_stream(&captured).ok());
    CHECK(device.begin_capture(captured).ok());
    void* pinned = nullptr;
    void* memory = nullptr;
    CHECK(device.allocate_pinned(kBytes, "released while in use", &pinned).ok());
    CHECK(device.allocate(kBytes, "released while in use", &memory).ok());
    std::memset(pinned, 5, kBytes);
    OnDevice kept(device, kBytes, "kept");
    CHECK(device.copy(kept.get(), pinned, kBytes, CopyDirection::kToDevice, desk.stream).ok());
    CHECK(device.call_host(&Call::run, &one, desk.stream).ok());
    CHECK(device.release_pinned(pinned).ok());
    CHECK(calls.numbers.size() == 1);
    CHECK(kept.download<unsigned char>(desk.stream)[kBytes - 1] == 5);
    CHECK(device.call_host(&Call::run, &one, desk.stream).ok());
    CHECK(device.release(memory).ok());
    CHECK(calls.numbers.size() == 2);
    // A capture in between is left as it is.
    bool is_captured = false;
    CHECK(device.is_captured(captured, &is_captured).ok() && is_captured);
    Graph graph = nullptr;
    CHECK(device.end_capture(captured, &graph).ok());
    CHECK(device.destroy_graph(graph).ok());
    CHECK(device.destroy_stream(captured).ok());
}

/// Sizes that no memory holds, those too whose sums with anything are small numbers again.
void test_sizes_that_do_not_fit() {
    const Desk desk;
    Device& device = *desk.device;
    OnDevice memory(device, kBytes, "memory");
    auto& known = emulation::Emulator::instance().memory;
    const std::size_t live_bytes = known.live_bytes();
    const std::size_t live_count = known.live_count();
    constexpr std::size_t kMost = static_cast<std::size_t>(-1);
    for (const std::size_t bytes : {std::size_t{1} << 60, kMost / 2, kMost / 2 + 1, kMost - 2048, kMost - 255, kMost}) {
        for (const auto allocate : {&Device::allocate, &Device::allocate_pinned}) {
            void* none = &device;
            const Status status = (device.*allocate)(bytes, "too much", &none);
            CHECK(status.code() == StatusCode::kDeviceError);
            const std::string wanted = "allocation of " + std::to_string(bytes) + " bytes for too much failed";
            CHECK(std::strstr(status.message(), wanted.c_str()) != nullptr);
            CHECK(none == &device);
        }
        CHECK(!device.fill(memory.get(), 0, bytes, desk.stream).ok());
        CHECK(!device.copy(memory.get(), desk.pinned, bytes, CopyDirection::kToDevice, desk.stream).ok());
        CHECK(!device.copy(desk.pinned, memory.get(), bytes, CopyDirection::kToHost, desk.stream).ok());
        CHECK(!device.copy(memory.get(), memory.get(), bytes, CopyDirection::kWithinDevice, desk.stream).ok());
    }
    CHECK(known.live_bytes() == live_bytes && known.live_count() == live_count);
    // What fits is given as before.
    OnDevice after(device, kBytes, "after");
    after.fill(3, desk.stream);
    CHECK(after.download<unsigned char>(desk.stream)[0] == 3);
}

void test_what_memory_is_refused() {
    const Desk desk;
    OnDevice memory(*desk.device, kBytes, "memory");
    std::vector<char> host(2 * kBytes);
    Device& device = *desk.device;
    CHECK(!device.copy(memory.get(), host.data(), kBytes + 1, CopyDirection::kToDevice, desk.stream).ok());
    CHECK(!device.copy(host.data(), host.data(), kBytes, CopyDirection::kToDevice, desk.stream).ok());
    CHECK(!device.copy(memory.get(), memory.get(), kBytes, CopyDirection::kToHost, desk.stream).ok());
    CHECK(!device.fill(host.data(), 0, kBytes, desk.stream).ok());
    CHECK(device.fill(memory.get(), 0, 0, desk.stream).ok());
    CHECK(!device.release(host.data()).ok());
    CHECK(!device.release(memory.get<char>() + 1).ok());
    CHECK(!device.release_pinned(memory.get()).ok());
    CHECK(device.release(nullptr).ok());
    void* released = nullptr;
    CHECK(device.allocate(kBytes, "released", &released).ok());
    CHECK(device.release(released).ok());
    CHECK(!device.release(released).ok());
    CHECK(!device.fill(released, 0, 1, desk.stream).ok());
    MemoryPlace place = MemoryPlace::kOtherDevice;
    CHECK(device.locate(memory.get(), &place).ok() && place == MemoryPlace::kDevice);
    CHECK(device.locate(desk.pinned, &place).ok() && place == MemoryPlace::kPinnedHost);
    CHECK(device.locate(host.data(), &place).ok() && place == MemoryPlace::kPageableHost);
    std::shared_ptr<Device> none;
    CHECK(Device::open(DeviceKind::kEmulated, 1, &none).code() == StatusCode::kUnavailable);
}

}  // namespace

int main() {
    test_work_waits_until_somebody_does();
    test_copies_read_when_they_run();
    test_events_order_streams();
    test_a_graph_does_its_work_again();
    test_pageable_memory_is_refused_in_a_capture();
    test_released_memory_is_waited_for();
    test_sizes_that_do_not_fit();
    test_what_memory_is_refused();
    return 0;
}
