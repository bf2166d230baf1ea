#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "check.h"
#include "emulation/emulation.h"
#include "rfkernels/device.h"

// What tests of kernels need of the emulated device.

/// Memory of the device, given back at the end.
class OnDevice {
  public:
    OnDevice(rfkernels::Device& device, std::size_t bytes, const char* purpose) : device_(device), bytes_(bytes) {
        CHECK(device.allocate(bytes, purpose, &memory_).ok());
    }
    ~OnDevice() { CHECK(device_.release(memory_).ok()); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

    void upload(const void* from, std::size_t bytes, rfkernels::Stream stream) {
        CHECK(device_.copy(memory_, from, bytes, rfkernels::CopyDirection::kToDevice, stream).ok());
    }
    void fill(std::uint8_t byte, rfkernels::Stream stream) { CHECK(device_.fill(memory_, byte, bytes_, stream).ok()); }
    /// All of it; waits.
    template <typename T>
    std::vector<T> download(rfkernels::Stream stream) const {
        std::vector<T> result(bytes_ / sizeof(T));
        CHECK(device_.copy(result.data(), memory_, result.size() * sizeof(T), rfkernels::CopyDirection::kToHost, stream)
                  .ok());
        return result;
    }
    template <typename T = void>
    T* get() const {
        return static_cast<T*>(memory_);
    }
    std::size_t bytes() const { return bytes_; }

  private:
    rfkernels::Device& device_;
    std::size_t bytes_;
    void* memory_ = nullptr;
};

inline std::shared_ptr<rfkernels::Device> emulated_device() {
    std::shared_ptr<rfkernels::Device> device;
    CHECK(rfkernels::Device::open(rfkernels::DeviceKind::kEmulated, 0, &device).ok());
    return device;
}

/// Whether kernels are tested on a GPU: where the environment's RFK_TEST_DEVICE is "cuda" (benchmarks/gpu.sh).
inline bool tests_a_gpu() {
    const char* wanted = std::getenv("RFK_TEST_DEVICE");
    return wanted != nullptr && std::strcmp(wanted, "cuda") == 0;
}

/// The device that kernels are tested on. Schedules say nothing to a GPU.
inline std::shared_ptr<rfkernels::Device> tested_device() {
    if (!tests_a_gpu()) return emulated_device();
    std::shared_ptr<rfkernels::Device> device;
    const rfkernels::Status status = rfkernels::Device::open(rfkernels::DeviceKind::kCuda, 0, &device);
    if (!status.ok()) std::fprintf(stderr, "RFK_TEST_DEVICE is cuda: %s\n", status.message());
    CHECK(status.ok());
    return device;
}

/// Whether what kernels move is counted.
inline bool counts_traffic() {
    return !tests_a_gpu() && rfkernels::emulation::hooks_are_compiled_in();
}

/// Ends the test, saying what was found, if anything was.
inline void check_no_findings(const char* what) {
    const auto findings = rfkernels::emulation::Emulator::instance().findings.take();
    for (const auto& finding : findings) {
        std::fprintf(stderr, "%s: %s in %s (%llu times): %s\n", what, name_of(finding.kind), finding.kernel.c_str(),
                     static_cast<unsigned long long>(finding.count), finding.message.c_str());
    }
    CHECK(findings.empty());
}
