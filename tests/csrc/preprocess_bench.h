#pragma once

// What tests of preprocess on a device share: images lent to it, and one drawing by the CPU op and by the kernel.

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "device_bench.h"
#include "rfkernels/preprocess.h"

using namespace rfkernels;

/// Rows of a plane in memory of the device, or of the host where it is pinned; what lies between rows is nobody's.
class LentPlane {
  public:
    LentPlane(Device& device, const std::uint8_t* rows, std::int64_t row_count, std::int64_t row_bytes,
              std::int64_t pitch, std::int64_t misalignment, bool is_pinned, Stream stream)
        : device_(device) {
        const std::size_t bytes = static_cast<std::size_t>((row_count - 1) * pitch + row_bytes + misalignment);
        if (is_pinned) {
            CHECK(device.allocate_pinned(bytes, "plane", &pinned_).ok());
            data_ = static_cast<std::uint8_t*>(pinned_) + misalignment;
        } else {
            lent_ = std::make_unique<OnDevice>(device, bytes, "plane");
            data_ = lent_->get<std::uint8_t>() + misalignment;
        }
        for (std::int64_t row = 0; row < row_count; ++row) {
            const std::size_t count = static_cast<std::size_t>(row_bytes);
            if (is_pinned) {
                std::memcpy(data_ + row * pitch, rows + row * pitch, count);
            } else {
                CHECK(
                    device.copy(data_ + row * pitch, rows + row * pitch, count, CopyDirection::kToDevice, stream).ok());
            }
        }
    }
    ~LentPlane() {
        if (pinned_ != nullptr) CHECK(device_.release_pinned(pinned_).ok());
    }
    LentPlane(const LentPlane&) = delete;
    LentPlane& operator=(const LentPlane&) = delete;
    const std::uint8_t* data() const { return data_; }

  private:
    Device& device_;
    std::unique_ptr<OnDevice> lent_;
    void* pinned_ = nullptr;
    std::uint8_t* data_ = nullptr;
};

/// C-contiguous but for `row_padding` elements between rows.
inline TensorView canvas_view(std::int64_t count, Size canvas, DataType dtype, std::int64_t row_padding = 0) {
    const std::int64_t element = dtype == DataType::kUint8 ? 1 : dtype == DataType::kFloat32 ? 4 : 2;
    const std::int64_t row = (canvas.width + row_padding) * element;
    const std::int64_t plane = row * canvas.height;
    TensorView view;
    view.dtype = dtype;
    view.rank = 4;
    view.shape = {count, 3, canvas.height, canvas.width};
    view.strides = {3 * plane, plane, row, element};
    return view;
}

/// The same pictures for either: `host_images` for the CPU op, `device_images` for the kernel.
struct Drawing {
    std::vector<ImageView> host_images;
    std::vector<ImageView> device_images;
    std::vector<Placement> placements;
    PreprocessParams params;
};

/// All bytes of the canvas, those between its rows included.
struct Outcome {
    std::vector<unsigned char> expected;
    std::vector<unsigned char> actual;
};

/// By the CPU op and by the kernel, on canvases that hold 0x5A before.
inline Outcome draw_on_both(Device& device, Stream stream, const Drawing& drawing, TensorView canvas) {
    const std::int64_t count = canvas.shape[0];
    const Size size{canvas.shape[2], canvas.shape[3]};
    Outcome outcome;
    outcome.expected.assign(static_cast<std::size_t>(canvas.strides[0] * count), 0x5A);
    canvas.data = outcome.expected.data();
    CHECK(
        preprocess(drawing.host_images.data(), drawing.placements.data(), count, drawing.params, canvas, nullptr).ok());

    OnDevice memory(device, outcome.expected.size(), "canvas");
    memory.fill(0x5A, stream);
    canvas.data = memory.get();
    const std::size_t descriptor_bytes =
        preprocess_descriptor_bytes(drawing.placements.data(), count, drawing.params.interpolation, size);
    std::vector<std::max_align_t> descriptors(descriptor_bytes / sizeof(std::max_align_t) + 1);
    CHECK(describe_preprocess(drawing.device_images.data(), drawing.placements.data(), count, drawing.params, canvas,
                              descriptors.data(), descriptor_bytes)
              .ok());
    OnDevice described(device, descriptor_bytes, "descriptors");
    described.upload(descriptors.data(), descriptor_bytes, stream);
    const Status status =
        preprocess_on_device(device, described.get(), count, drawing.params.interpolation, canvas, stream);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
    CHECK(status.ok());
    outcome.actual = memory.download<unsigned char>(stream);
    return outcome;
}

inline void check_same(const std::string& what, const Outcome& outcome) {
    std::size_t differing = 0;
    CHECK(outcome.expected.size() == outcome.actual.size());
    for (std::size_t i = 0; i < outcome.expected.size(); ++i) {
        if (outcome.expected[i] != outcome.actual[i] && differing++ == 0) {
            std::fprintf(stderr, "%s: byte %zu is %d, not %d\n", what.c_str(), i, outcome.actual[i],
                         outcome.expected[i]);
        }
    }
    CHECK(differing == 0);
}
