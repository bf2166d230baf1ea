// Devices as rfkernels.device uses them: addresses, streams, events and graphs are numbers here.

#include "rfkernels/device.h"

#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "common.h"
#include "on_device.h"

namespace rfkernels::bindings {
namespace {

using Address = std::uintptr_t;

template <typename Pointer = void*>
Pointer pointer_of(Address address) {
    return reinterpret_cast<Pointer>(address);
}

Address address_of(const void* pointer) {
    return reinterpret_cast<Address>(pointer);
}

DeviceKind kind_of(const std::string& name) {
    if (name == "cuda") return DeviceKind::kCuda;
    if (name == "emulated") return DeviceKind::kEmulated;
    throw py::value_error("device is \"" + name + "\"; give \"cuda\" or \"emulated\"");
}

CopyDirection direction_of(const std::string& name) {
    if (name == "to_device") return CopyDirection::kToDevice;
    if (name == "to_host") return CopyDirection::kToHost;
    if (name == "within_device") return CopyDirection::kWithinDevice;
    throw py::value_error("direction is \"" + name + "\"; give \"to_device\", \"to_host\" or \"within_device\"");
}

const char* name_of_place(MemoryPlace place) {
    switch (place) {
        case MemoryPlace::kDevice:
            return "device";
        case MemoryPlace::kPinnedHost:
            return "pinned_host";
        case MemoryPlace::kOtherDevice:
            return "other_device";
        default:
            return "pageable_host";
    }
}

/// A Python function that a stream calls. Whoever puts it on a stream keeps it for as long as the stream, or a graph,
/// may call it.
struct HostCall {
    explicit HostCall(py::function given) : function(std::move(given)) {}

    static void run(void* self) {
        const py::gil_scoped_acquire lock;
        HostCall& call = *static_cast<HostCall*>(self);
        try {
            call.function();
        } catch (...) {
            // It cannot pass through the device: kept for whoever waits for the stream.
            call.error = std::current_exception();
        }
    }

    void raise_if_failed() {
        if (error == nullptr) return;
        const std::exception_ptr kept = std::exchange(error, nullptr);
        std::rethrow_exception(kept);
    }

    py::function function;
    std::exception_ptr error;
};

py::dict counters_of(const Device& device) {
    const DeviceCounters counters = device.counters();
    py::dict result;
    result["kernel_launches"] = counters.kernel_launches;
    result["graph_launches"] = counters.graph_launches;
    result["kernels_in_graphs"] = counters.kernels_in_graphs;
    result["synchronizations"] = counters.synchronizations;
    result["bytes_to_device"] = counters.bytes_to_device;
    result["bytes_to_host"] = counters.bytes_to_host;
    return result;
}

using DeviceClass = py::class_<Device, std::shared_ptr<Device>>;

void bind_memory(DeviceClass& device) {
    const auto allocating = [](Status (Device::*allocate)(std::size_t, const char*, void**)) {
        return [allocate](Device& self, std::size_t bytes, const std::string& purpose) {
            void* memory = nullptr;
            without_lock([&] { return (self.*allocate)(bytes, purpose.c_str(), &memory); });
            return address_of(memory);
        };
    };
    device.def("allocate", allocating(&Device::allocate), py::arg("bytes"), py::arg("purpose"), "Device memory.");
    device.def("allocate_pinned", allocating(&Device::allocate_pinned), py::arg("bytes"), py::arg("purpose"),
               "Host memory that kernels can read.");
    device.def(
        "release", [](Device& self, Address memory) { without_lock([&] { return self.release(pointer_of(memory)); }); },
        py::arg("memory"), "Gives device memory back, when what is on its way is done.");
    device.def(
        "release_pinned",
        [](Device& self, Address memory) { without_lock([&] { return self.release_pinned(pointer_of(memory)); }); },
        py::arg("memory"), "Gives pinned memory back.");
    device.def(
        "locate",
        [](Device& self, Address address) {
            MemoryPlace place = MemoryPlace::kPageableHost;
            without_lock([&] { return self.locate(pointer_of(address), &place); });
            return name_of_place(place);
        },
        py::arg("address"), "Where memory is: device, pinned_host, pageable_host or other_device.");
    device.def(
        "copy",
        [](Device& self, Address to, Address from, std::size_t bytes, const std::string& direction, Address stream) {
            const CopyDirection way = direction_of(direction);
            without_lock([&] { return self.copy(pointer_of(to), pointer_of(from), bytes, way, pointer_of(stream)); });
        },
        py::arg("to"), py::arg("from_"), py::arg("bytes"), py::arg("direction"), py::arg("stream"),
        "A copy, put on a stream.");
    device.def(
        "fill",
        [](Device& self, Address memory, int byte, std::size_t bytes, Address stream) {
            without_lock([&] {
                return self.fill(pointer_of(memory), static_cast<std::uint8_t>(byte), bytes, pointer_of(stream));
            });
        },
        py::arg("memory"), py::arg("byte"), py::arg("bytes"), py::arg("stream"), "Every byte the same.");
}

void bind_streams(DeviceClass& device) {
    const auto making = [](Status (Device::*make)(void**)) {
        return [make](Device& self) {
            void* made = nullptr;
            without_lock([&] { return (self.*make)(&made); });
            return address_of(made);
        };
    };
    const auto taking = [](Status (Device::*take)(void*)) {
        return [take](Device& self, Address handle) { without_lock([&] { return (self.*take)(pointer_of(handle)); }); };
    };
    const auto taking_two = [](Status (Device::*take)(void*, void*)) {
        return [take](Device& self, Address first, Address second) {
            without_lock([&] { return (self.*take)(pointer_of(first), pointer_of(second)); });
        };
    };
    device.def("create_stream", making(&Device::create_stream), "A queue of work.");
    device.def("destroy_stream", taking(&Device::destroy_stream), py::arg("stream"), "Ends it.");
    device.def("synchronize", taking(&Device::synchronize), py::arg("stream"), "Waits for all that is on it.");
    device.def(
        "call_host",
        [](Device& self, HostCall& call, Address stream) {
            without_lock([&] { return self.call_host(&HostCall::run, &call, pointer_of(stream)); });
        },
        py::arg("call"), py::arg("stream"), "Calls a function when the stream comes to it.");
    device.def("create_event", making(&Device::create_event), "A mark on a stream.");
    device.def("destroy_event", taking(&Device::destroy_event), py::arg("event"), "Ends it.");
    device.def("record_event", taking_two(&Device::record_event), py::arg("event"), py::arg("stream"), "Sets it.");
    device.def("wait_event", taking_two(&Device::wait_event), py::arg("event"), py::arg("stream"),
               "The stream waits for it.");
    device.def("synchronize_event", taking(&Device::synchronize_event), py::arg("event"), "The host waits for it.");
    device.def(
        "query_event",
        [](Device& self, Address event) {
            bool is_done = false;
            without_lock([&] { return self.query_event(pointer_of(event), &is_done); });
            return is_done;
        },
        py::arg("event"), "Whether what it marks is done, without waiting.");
    device.def(
        "is_captured",
        [](Device& self, Address stream) {
            bool captured = false;
            without_lock([&] { return self.is_captured(pointer_of(stream), &captured); });
            return captured;
        },
        py::arg("stream"), "Whether what is put on the stream is kept for a graph.");
    device.def("begin_capture", taking(&Device::begin_capture), py::arg("stream"), "What comes is kept, not run.");
    device.def(
        "end_capture",
        [](Device& self, Address stream) {
            Graph graph = nullptr;
            without_lock([&] { return self.end_capture(pointer_of(stream), &graph); });
            return address_of(graph);
        },
        py::arg("stream"), "What was kept, as a graph.");
    device.def("launch_graph", taking_two(&Device::launch_graph), py::arg("graph"), py::arg("stream"),
               "Puts all of it on a stream.");
    device.def("destroy_graph", taking(&Device::destroy_graph), py::arg("graph"), "Ends it.");
}

}  // namespace

void bind_device(py::module_& module) {
    py::class_<HostCall>(module, "HostCall", "A function that a stream calls.")
        .def(py::init<py::function>(), py::arg("function"))
        .def("raise_if_failed", &HostCall::raise_if_failed, "Raises what the function raised when it was last called.");
    DeviceClass device(module, "Device", "A GPU or its emulation.");
    device.def_static(
        "open",
        [](const std::string& kind, int ordinal) {
            const DeviceKind wanted = kind_of(kind);
            std::shared_ptr<Device> opened;
            without_lock([&] { return Device::open(wanted, ordinal, &opened); });
            return opened;
        },
        py::arg("kind"), py::arg("ordinal"), "The device of a kind and number.");
    device.def_property_readonly("kind", [](const Device& self) { return name_of(self.kind()); });
    device.def_property_readonly("ordinal", &Device::ordinal);
    device.def_property_readonly("name", &Device::name);
    device.def("counters", &counters_of, "What it was asked for since it was opened.");
    bind_memory(device);
    bind_streams(device);
}

}  // namespace rfkernels::bindings
