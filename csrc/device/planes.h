#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// One image's values as channels x anchors, steps in elements. One of the steps is 1 (or unused: one anchor, one
/// channel).
struct Plane {
    const void* data = nullptr;
    DataType dtype = DataType::kFloat32;
    std::int64_t channel_step = 0;
    std::int64_t anchor_step = 0;
    std::int64_t image_step = 0;

    std::int64_t element_size() const { return dtype == DataType::kFloat32 ? 4 : 2; }

    const void* at(std::int64_t image, std::int64_t channel) const {
        return static_cast<const unsigned char*>(data) + (image * image_step + channel * channel_step) * element_size();
    }

    float value(std::int64_t image, std::int64_t channel, std::int64_t anchor) const {
        const std::int64_t element = image * image_step + channel * channel_step + anchor * anchor_step;
        if (dtype == DataType::kFloat32) return static_cast<const float*>(data)[element];
        const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[element]) << 16U;
        float number;
        std::memcpy(&number, &bits, sizeof(number));
        return number;
    }
};

/// "[1, 64, 80, 80]".
std::string shape_of(const TensorView& view);

/// Reads view [N, channels, rows.., columns] as channels x anchors, the anchors being all axes from 2 on.
Status as_plane(const TensorView& view, const std::string& name, Plane* plane);

/// The same for a device, whose kernels read float16 too. `Plane::value` does not.
Status as_device_plane(const TensorView& view, const std::string& name, Plane* plane);

}  // namespace rfkernels
