#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "device/arithmetic.h"
#include "device_bench.h"
#include "rfkernels/detection.h"

// Outputs of networks for tests of detection on a device: the same numbers as float32 for the CPU op, and on the device
// in a dtype and a layout.

inline float from_float16(std::uint16_t bits) {
    const int exponent = bits >> 10U & 31;
    const float fraction = static_cast<float>(bits & 1023);
    float value = exponent == 31  ? (fraction != 0.0f ? NAN : INFINITY)
                  : exponent == 0 ? std::ldexp(fraction, -24)
                                  : std::ldexp(fraction + 1024.0f, exponent - 25);
    return (bits & 0x8000) != 0 ? -value : value;
}

/// Cut, not rounded: a test needs some number nearby.
inline std::uint16_t to_float16(float value) {
    const std::uint32_t bits = rfkernels::bits_as<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16U & 0x8000U;
    if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00U);
    const int exponent = static_cast<int>(bits >> 23U & 255U) - 112;
    if (exponent >= 31) return static_cast<std::uint16_t>(sign | 0x7C00U);
    if (exponent <= 0) return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::fabs(value) * 0x1p24f));
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(exponent) << 10U | (bits >> 13U & 1023U));
}

enum class Layout {
    kPlanes,        ///< channel by channel
    kPaddedPlanes,  ///< each a few elements from the last, on no boundary
    kRows,          ///< anchor by anchor
    kPaddedRows,
};

/// [N, channels, anchors], anchors as rows x columns.
struct HeadTensor {
    std::vector<std::int64_t> shape;  ///< of four, or, where rows is 0, of three
    std::vector<float> values;        ///< contiguous; of the dtype's numbers
    rfkernels::DataType dtype = rfkernels::DataType::kFloat32;
    Layout layout = Layout::kPlanes;
    std::shared_ptr<OnDevice> memory;

    HeadTensor() = default;
    HeadTensor(std::vector<std::int64_t> given_shape, rfkernels::DataType given_dtype, Layout given_layout)
        : shape(std::move(given_shape)), dtype(given_dtype), layout(given_layout) {
        std::int64_t count = 1;
        for (const std::int64_t side : shape) count *= side;
        values.resize(static_cast<std::size_t>(count));
    }

    std::int64_t anchors() const { return shape.size() == 4 ? shape[2] * shape[3] : shape[2]; }
    std::int64_t channels() const { return shape[1]; }
    float& at(std::int64_t image, std::int64_t channel, std::int64_t anchor) {
        return values[static_cast<std::size_t>((image * channels() + channel) * anchors() + anchor)];
    }

    std::int64_t element() const { return dtype == rfkernels::DataType::kFloat32 ? 4 : 2; }

    std::uint16_t half(float value) const {
        return dtype == rfkernels::DataType::kFloat16
                   ? to_float16(value)
                   : static_cast<std::uint16_t>(rfkernels::bits_as<std::uint32_t>(value) >> 16U);
    }

    /// To the nearest numbers that the dtype has.
    void cut() {
        if (dtype == rfkernels::DataType::kFloat32) return;
        for (float& value : values) {
            value = dtype == rfkernels::DataType::kFloat16 ? from_float16(half(value))
                                                           : rfkernels::from_bfloat16(half(value));
        }
    }

    rfkernels::TensorView view(void* data, Layout as, std::int64_t bytes) const {
        rfkernels::TensorView result;
        result.data = data;
        result.dtype = bytes == 4 ? rfkernels::DataType::kFloat32 : dtype;
        result.rank = static_cast<int>(shape.size());
        const bool by_rows = as == Layout::kRows || as == Layout::kPaddedRows;
        const std::int64_t channel = by_rows ? 1 : anchors() + (as == Layout::kPaddedPlanes ? 3 : 0);
        const std::int64_t anchor = by_rows ? channels() + (as == Layout::kPaddedRows ? 5 : 0) : 1;
        const std::int64_t image = by_rows ? anchor * anchors() : channel * channels();
        std::copy(shape.begin(), shape.end(), result.shape.begin());
        result.strides = {image * bytes, channel * bytes, anchor * bytes};
        if (shape.size() == 4) {
            result.strides[2] = shape[3] * anchor * bytes;
            result.strides[3] = anchor * bytes;
        }
        return result;
    }

    rfkernels::TensorView on_host() { return view(values.data(), Layout::kPlanes, 4); }

    /// Exactly as many bytes as the tensor has, from its first element to its last.
    rfkernels::TensorView on_device(rfkernels::Device& device, rfkernels::Stream stream, const char* purpose) {
        const rfkernels::TensorView there = view(nullptr, layout, element());
        const std::int64_t anchor_step = there.strides[there.rank - 1];
        const std::int64_t last =
            (shape[0] - 1) * there.strides[0] + (channels() - 1) * there.strides[1] + (anchors() - 1) * anchor_step;
        std::vector<unsigned char> bytes(static_cast<std::size_t>(last + element()), 0xFF);
        for (std::int64_t image = 0; image < shape[0]; ++image) {
            for (std::int64_t channel = 0; channel < channels(); ++channel) {
                for (std::int64_t anchor = 0; anchor < anchors(); ++anchor) {
                    const float value = at(image, channel, anchor);
                    const std::uint16_t narrow = half(value);
                    std::memcpy(&bytes[static_cast<std::size_t>(image * there.strides[0] + channel * there.strides[1] +
                                                                anchor * anchor_step)],
                                element() == 4 ? static_cast<const void*>(&value) : &narrow,
                                static_cast<std::size_t>(element()));
                }
            }
        }
        memory = std::make_shared<OnDevice>(device, bytes.size(), purpose);
        memory->upload(bytes.data(), bytes.size(), stream);
        return view(memory->get(), layout, element());
    }
};

/// Results of a batch on the device, and what they must be.
struct ResultsOnDevice {
    ResultsOnDevice(rfkernels::Device& device, std::int64_t images, std::int64_t given_room)
        : room(given_room),
          boxes(device, sized(images * room * 16), "boxes"),
          network_boxes(device, sized(images * room * 16), "network boxes"),
          scores(device, sized(images * room * 4), "scores"),
          class_ids(device, sized(images * room * 4), "class ids"),
          anchor_indices(device, sized(images * room * 4), "anchor indices"),
          counts(device, sized(images * 4), "counts"),
          flags(device, sized(images * 4), "flags") {
        view.max_detections = room;
        view.boxes = boxes.get<float>();
        view.network_boxes = network_boxes.get<float>();
        view.scores = scores.get<float>();
        view.class_ids = class_ids.get<std::int32_t>();
        view.anchor_indices = anchor_indices.get<std::int32_t>();
        view.counts = counts.get<std::int32_t>();
        view.flags = flags.get<std::uint32_t>();
    }

    static std::size_t sized(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }

    template <typename T>
    bool holds(const OnDevice& memory, std::int64_t image, std::int64_t width, const std::vector<T>& wanted, T nothing,
               rfkernels::Stream stream) const {
        const std::vector<T> all = memory.download<T>(stream);
        std::vector<T> expected = wanted;
        expected.resize(static_cast<std::size_t>(room * width), nothing);
        if (expected.empty()) return true;
        return std::memcmp(all.data() + image * room * width, expected.data(), expected.size() * sizeof(T)) == 0;
    }

    /// Bit for bit, with nothing in the rows after them.
    bool equal(std::int64_t image, const rfkernels::Detections& wanted, rfkernels::Stream stream) const {
        const std::size_t place = static_cast<std::size_t>(image);
        return counts.download<std::int32_t>(stream)[place] == static_cast<std::int32_t>(wanted.scores.size()) &&
               flags.download<std::uint32_t>(stream)[place] == (wanted.overflowed ? rfkernels::kOverflowed : 0U) &&
               holds(boxes, image, 4, wanted.boxes, 0.0f, stream) &&
               holds(network_boxes, image, 4, wanted.network_boxes, 0.0f, stream) &&
               holds(scores, image, 1, wanted.scores, 0.0f, stream) &&
               holds(class_ids, image, 1, wanted.class_ids, -1, stream) &&
               holds(anchor_indices, image, 1, wanted.anchor_indices, -1, stream);
    }

    std::int64_t room;
    OnDevice boxes;
    OnDevice network_boxes;
    OnDevice scores;
    OnDevice class_ids;
    OnDevice anchor_indices;
    OnDevice counts;
    OnDevice flags;
    rfkernels::DeviceDetections view;
};
