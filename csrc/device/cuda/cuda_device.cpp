// A GPU through the CUDA runtime. Every call is checked; what fails is told with what it was given.

#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "device/cuda/current_device.h"
#include "device/cuda/driver_contexts.h"
#include "device/cuda/streams_in_use.h"
#include "device/guarded.h"
#include "device/launch.h"
#include "device/launch_error.h"
#include "device/open.h"
#include "device/pageable_in_capture.h"

namespace rfkernels::cuda {
namespace {

constexpr const char* kNoMemory = "no memory for a call of the CUDA runtime";

Status checked(cudaError_t error, const std::string& call) {
    if (error == cudaSuccess) return Status();
    cudaGetLastError();  // an error that is no fault of the device's stays set otherwise
    return Status::device_error(call + " failed: " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")");
}

/// `call` made an allocation, or did not; `memory` is left as it was then.
Status checked_allocation(cudaError_t error, const char* call, std::size_t bytes, const char* purpose, void* made,
                          void** memory) {
    if (error == cudaSuccess) {
        *memory = made;
        return Status();
    }
    const Status status = checked(error, std::string(call) + " of " + std::to_string(bytes) + " bytes for " + purpose);
    // Sizes that no machine has are an invalid value to some versions.
    if (error != cudaErrorMemoryAllocation && error != cudaErrorInvalidValue) return status;
    return Status::device_error(std::string(status.message()) + "; free memory of this kind or ask for less");
}

DriverContexts& driver_contexts() {
    static DriverContexts contexts;
    return contexts;
}

struct CudaGraph {
    cudaGraphExec_t executable = nullptr;
    std::uint64_t kernels = 0;
    std::uint64_t bytes_to_device = 0;
    std::uint64_t bytes_to_host = 0;
};

struct DestroyGraph {
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using CapturedGraph = std::unique_ptr<CUgraph_st, DestroyGraph>;

/// What a captured graph holds, for the counters. Nodes that a runtime put into it may not let themselves be asked:
/// they are not counted, and the graph is as good as it was.
void count_nodes(cudaGraph_t graph, CudaGraph* counted) {
    std::size_t count = 0;
    std::vector<cudaGraphNode_t> nodes;
    if (cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess) {
        nodes.resize(count);
        if (cudaGraphGetNodes(graph, nodes.data(), &count) != cudaSuccess) nodes.clear();
    }
    for (cudaGraphNode_t node : nodes) {
        cudaGraphNodeType type{};
        cudaMemcpy3DParms copy{};
        if (cudaGraphNodeGetType(node, &type) != cudaSuccess) continue;
        if (type == cudaGraphNodeTypeKernel) ++counted->kernels;
        if (type != cudaGraphNodeTypeMemcpy || cudaGraphMemcpyNodeGetParams(node, &copy) != cudaSuccess) continue;
        const std::uint64_t bytes = copy.extent.width * copy.extent.height * copy.extent.depth;
        if (copy.kind == cudaMemcpyHostToDevice) counted->bytes_to_device += bytes;
        if (copy.kind == cudaMemcpyDeviceToHost) counted->bytes_to_host += bytes;
    }
    cudaGetLastError();  // or the next call that asks, anybody's, would be told of a node
}

class CudaDevice final : public Device {
  public:
    CudaDevice(int ordinal, std::string name) : Device(DeviceKind::kCuda, ordinal), name_(std::move(name)) {}

    std::string name() const override { return name_; }

    Status allocate(std::size_t bytes, const char* purpose, void** memory) override {
        return on_device([&] {
            void* made = nullptr;
            const cudaError_t error = cudaMalloc(&made, bytes);
            return checked_allocation(error, "cudaMalloc", bytes, purpose, made, memory);
        });
    }
    Status release(void* memory) override {
        return on_device([&] {
            if (memory != nullptr) streams_.wait();
            return checked(cudaFree(memory), "cudaFree");
        });
    }
    Status allocate_pinned(std::size_t bytes, const char* purpose, void** memory) override {
        return on_device([&] {
            void* made = nullptr;
            const cudaError_t error = cudaHostAlloc(&made, bytes, cudaHostAllocPortable | cudaHostAllocMapped);
            return checked_allocation(error, "cudaHostAlloc", bytes, purpose, made, memory);
        });
    }
    Status release_pinned(void* memory) override {
        return on_device([&] {
            if (memory != nullptr) streams_.wait();
            return checked(cudaFreeHost(memory), "cudaFreeHost");
        });
    }
    Status locate(const void* address, MemoryPlace* place) override {
        return on_device([&] {
            cudaPointerAttributes attributes{};
            const Status status = checked(cudaPointerGetAttributes(&attributes, address), "cudaPointerGetAttributes");
            if (!status.ok()) return status;
            switch (attributes.type) {
                case cudaMemoryTypeDevice:
                case cudaMemoryTypeManaged:
                    *place = attributes.device == ordinal() ? MemoryPlace::kDevice : MemoryPlace::kOtherDevice;
                    break;
                case cudaMemoryTypeHost:
                    *place = MemoryPlace::kPinnedHost;
                    break;
                default:
                    *place = MemoryPlace::kPageableHost;
            }
            return Status();
        });
    }

    Status create_stream(Stream* stream) override {
        return on_device([&] {
            cudaStream_t made = nullptr;
            const Status status =
                checked(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
            if (!status.ok()) return status;
            streams_.add(made);
            *stream = made;
            return status;
        });
    }
    Status destroy_stream(Stream stream) override {
        return on_device([&] {
            const auto destroy = [&] { return cudaStreamDestroy(of(stream)); };
            return checked(streams_.end_asking(of(stream), true, destroy), "cudaStreamDestroy");
        });
    }
    Status synchronize(Stream stream) override {
        return on_device([&] {
            ++counted_.synchronizations;
            return checked(cudaStreamSynchronize(of(stream)), "cudaStreamSynchronize, which waits for all before it,");
        });
    }
    Status copy(void* to, const void* from, std::size_t bytes, CopyDirection direction, Stream stream) override {
        return on_device([&]() -> Status {
            const cudaMemcpyKind kind = direction == CopyDirection::kToDevice ? cudaMemcpyHostToDevice
                                        : direction == CopyDirection::kToHost ? cudaMemcpyDeviceToHost
                                                                              : cudaMemcpyDefault;
            cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
            Status status = checked(cudaStreamIsCapturing(of(stream), &capture), "cudaStreamIsCapturing");
            if (!status.ok()) return status;
            if (capture != cudaStreamCaptureStatusNone && direction != CopyDirection::kWithinDevice && bytes > 0) {
                MemoryPlace place = MemoryPlace::kPageableHost;
                status = locate(direction == CopyDirection::kToDevice ? from : to, &place);
                if (!status.ok()) return status;
                if (place == MemoryPlace::kPageableHost) return pageable_in_capture(bytes, direction);
            }
            status = checked(cudaMemcpyAsync(to, from, bytes, kind, of(stream)),
                             "cudaMemcpyAsync of " + std::to_string(bytes) + " bytes");
            if (!status.ok() || capture != cudaStreamCaptureStatusNone) return status;
            if (direction == CopyDirection::kToDevice) counted_.bytes_to_device += bytes;
            if (direction != CopyDirection::kToHost) return status;
            counted_.bytes_to_host += bytes;
            // From pageable memory the runtime stages before it returns; to it, it may return early.
            MemoryPlace place = MemoryPlace::kPageableHost;
            status = locate(to, &place);
            return status.ok() && place == MemoryPlace::kPageableHost ? synchronize(stream) : status;
        });
    }
    Status fill(void* memory, std::uint8_t byte, std::size_t bytes, Stream stream) override {
        return on_device([&] {
            return checked(cudaMemsetAsync(memory, byte, bytes, of(stream)),
                           "cudaMemsetAsync of " + std::to_string(bytes) + " bytes");
        });
    }
    Status call_host(void (*function)(void*), void* argument, Stream stream) override {
        return on_device(
            [&] { return checked(cudaLaunchHostFunc(of(stream), function, argument), "cudaLaunchHostFunc"); });
    }

    Status create_event(Event* event) override {
        return on_device([&] {
            cudaEvent_t made = nullptr;
            const Status status =
                checked(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "cudaEventCreateWithFlags");
            *event = made;
            return status;
        });
    }
    Status destroy_event(Event event) override {
        return on_device(
            [&] { return checked(cudaEventDestroy(static_cast<cudaEvent_t>(event)), "cudaEventDestroy"); });
    }
    Status record_event(Event event, Stream stream) override {
        return on_device(
            [&] { return checked(cudaEventRecord(static_cast<cudaEvent_t>(event), of(stream)), "cudaEventRecord"); });
    }
    Status wait_event(Event event, Stream stream) override {
        return on_device([&] {
            const auto wait = [&] { return cudaStreamWaitEvent(of(stream), static_cast<cudaEvent_t>(event), 0); };
            return checked(streams_.joining(of(stream), wait), "cudaStreamWaitEvent");
        });
    }
    Status synchronize_event(Event event) override {
        return on_device([&] {
            ++counted_.synchronizations;
            return checked(cudaEventSynchronize(static_cast<cudaEvent_t>(event)),
                           "cudaEventSynchronize, which waits for all before it,");
        });
    }

    Status query_event(Event event, bool* is_done) override {
        return on_device([&] {
            const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(event));
            *is_done = error == cudaSuccess;
            if (error != cudaErrorNotReady) return checked(error, "cudaEventQuery");
            cudaGetLastError();  // no error, but kept as one
            return Status();
        });
    }

    Status is_captured(Stream stream, bool* captured) override {
        return on_device([&] {
            cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
            const Status status = checked(cudaStreamIsCapturing(of(stream), &capture), "cudaStreamIsCapturing");
            *captured = capture != cudaStreamCaptureStatusNone;
            return status;
        });
    }
    Status begin_capture(Stream stream) override {
        return on_device([&] {
            // Relaxed: Python may collect memory of another request, on this thread too, in the middle of a capture.
            // That is the capture's mode, which stays; the thread's own is relaxed for this call alone.
            const auto begin = [&] { return cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeRelaxed); };
            return checked(streams_.end_asking(of(stream), false, begin), "cudaStreamBeginCapture");
        });
    }
    Status end_capture(Stream stream, Graph* graph) override {
        return on_device([&]() -> Status {
            cudaGraph_t ended = nullptr;
            Status status = checked(cudaStreamEndCapture(of(stream), &ended), "cudaStreamEndCapture");
            if (!status.ok()) return status;
            const CapturedGraph captured(ended);
            auto made = std::make_unique<CudaGraph>();
            count_nodes(captured.get(), made.get());
            status = checked(cudaGraphInstantiate(&made->executable, captured.get(), 0), "cudaGraphInstantiate");
            if (status.ok()) *graph = made.release();
            return status;
        });
    }
    Status destroy_graph(Graph graph) override {
        return on_device([&] {
            const std::unique_ptr<CudaGraph> known(static_cast<CudaGraph*>(graph));
            return checked(cudaGraphExecDestroy(known->executable), "cudaGraphExecDestroy");
        });
    }
    Status launch_graph(Graph graph, Stream stream) override {
        return on_device([&] {
            const CudaGraph* known = static_cast<const CudaGraph*>(graph);
            ++counted_.graph_launches;
            counted_.kernels_in_graphs += known->kernels;
            counted_.bytes_to_device += known->bytes_to_device;
            counted_.bytes_to_host += known->bytes_to_host;
            return checked(cudaGraphLaunch(known->executable, of(stream)), "cudaGraphLaunch");
        });
    }

    void count_launch() { ++counted_.kernel_launches; }

  private:
    static cudaStream_t of(Stream stream) { return static_cast<cudaStream_t>(stream); }

    template <typename Body>
    Status on_device(const Body& body) {
        return guarded(kNoMemory, [&]() -> Status {
            const CurrentDevice guard(ordinal());
            return guard.status().ok() ? body() : guard.status();
        });
    }

    std::string name_;
    StreamsInUse streams_;
};

std::vector<std::shared_ptr<CudaDevice>>& opened_devices() {
    static std::vector<std::shared_ptr<CudaDevice>> devices;
    return devices;
}

std::mutex& opening() {
    static std::mutex mutex;
    return mutex;
}

}  // namespace

CurrentDevice::CurrentDevice(int ordinal) {
    // First: in a context that is not the runtime's own, what follows would go wrong, or put another in its place.
    status_ = driver_contexts().check();
    // Before anything that may set up a context or load a kernel, which captures of other threads may prohibit too.
    if (status_.ok()) status_ = driver_contexts().relax_captures(&captures_before_);
    relaxed_ = status_.ok();
    int current = 0;
    if (status_.ok()) status_ = checked(cudaGetDevice(&current), "cudaGetDevice");
    // Not by cudaSetDevice: what the runtime takes for this thread's device stays as it is, and so does a thread
    // without a context, for which nothing could be set back that would not make one. Where the device is the runtime's
    // own choice, the runtime makes its context current, as any call of it does, and it stays.
    if (status_.ok() && current != ordinal) {
        status_ = driver_contexts().enter(ordinal, &context_before_);
        changed_ = status_.ok();
    }
}

CurrentDevice::~CurrentDevice() {
    if (changed_) driver_contexts().leave(context_before_);
    if (relaxed_) driver_contexts().restore_captures(captures_before_);
}

Status open_device(int ordinal, std::shared_ptr<Device>* device) {
    const std::lock_guard<std::mutex> lock(opening());
    for (const auto& opened : opened_devices()) {
        if (opened->ordinal() != ordinal) continue;
        *device = opened;
        return Status();
    }
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        cudaGetLastError();
        return Status::unavailable(std::string("there is no CUDA device: ") + cudaGetErrorString(error));
    }
    if (ordinal < 0 || ordinal >= count) {
        return Status::unavailable("there is no CUDA device " + std::to_string(ordinal) + "; this machine has " +
                                   std::to_string(count));
    }
    Status status = driver_contexts().open();
    if (status.ok()) status = driver_contexts().check();
    if (!status.ok()) return status;
    cudaDeviceProp properties{};
    status = checked(cudaGetDeviceProperties(&properties, ordinal),
                     "cudaGetDeviceProperties(" + std::to_string(ordinal) + ")");
    if (!status.ok()) return status;
    opened_devices().push_back(std::make_shared<CudaDevice>(ordinal, properties.name));
    *device = opened_devices().back();
    return Status();
}

bool enqueue_launch(const char* name, const void* kernel, const LaunchShape& shape, void** arguments, Stream stream) {
    const Status status = guarded(kNoMemory, [&]() -> Status {
        constexpr std::size_t kWithoutAsking = 48 << 10;
        std::string text = std::string("launch of ") + name + " (grid " + std::to_string(shape.grid.x) + " x " +
                           std::to_string(shape.grid.y) + " x " + std::to_string(shape.grid.z) + ", block " +
                           std::to_string(shape.block.x) + " x " + std::to_string(shape.block.y) + " x " +
                           std::to_string(shape.block.z) + ", " + std::to_string(shape.dynamic_shared_bytes) +
                           " bytes of shared memory)";
        if (shape.dynamic_shared_bytes > kWithoutAsking) {
            const Status asked = checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                              static_cast<int>(shape.dynamic_shared_bytes)),
                                         text + ": cudaFuncSetAttribute");
            if (!asked.ok()) return asked;
        }
        const Status launched = checked(cudaLaunchKernel(kernel, dim3(shape.grid.x, shape.grid.y, shape.grid.z),
                                                         dim3(shape.block.x, shape.block.y, shape.block.z), arguments,
                                                         shape.dynamic_shared_bytes, static_cast<cudaStream_t>(stream)),
                                        text);
        if (!launched.ok()) return launched;
        cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
        int ordinal = 0;
        if (cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &capture) != cudaSuccess ||
            cudaGetDevice(&ordinal) != cudaSuccess) {
            cudaGetLastError();  // the kernel is on its stream, which the count is no reason to deny
            return Status();
        }
        if (capture != cudaStreamCaptureStatusNone) return Status();
        const std::lock_guard<std::mutex> lock(opening());
        for (const auto& opened : opened_devices()) {
            if (opened->ordinal() == ordinal) opened->count_launch();
        }
        return Status();
    });
    if (status.ok()) return true;
    keep_launch_error(status);
    return false;
}

}  // namespace rfkernels::cuda
