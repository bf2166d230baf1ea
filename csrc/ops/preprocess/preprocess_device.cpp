#include "ops/preprocess/preprocess_device.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "device/guarded.h"
#include "device/launch_on.h"
#include "ops/preprocess/antialiased_plan.h"
#include "ops/preprocess/checks.h"
#include "ops/preprocess/normalization.h"
#include "ops/preprocess/resize_arithmetic.h"
#include "rfkernels/preprocess.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostCanvasRows = 65535 * 8;  // blocks of eight rows
constexpr std::int64_t kMostImages = 65535;

std::size_t header_bytes(std::int64_t count) {
    return sizeof(DevicePreprocessParams) + static_cast<std::size_t>(count) * sizeof(DeviceImage);
}

/// An axis's visible part, with resized sides that may be more than the canvas.
struct ShownAxis {
    std::int64_t source_side;
    std::int64_t resized_side;
    Visible visible;
    std::int64_t count() const { return visible.end - visible.begin; }
    std::size_t table_bytes() const {
        const std::int64_t taps = most_antialiased_taps(source_side, resized_side);
        return static_cast<std::size_t>(4 * count() * (2 + taps));
    }
};

ShownAxis columns_of(const Placement& placement, Size canvas) {
    return ShownAxis{placement.crop.width, placement.resized_width,
                     visible(placement.left, placement.resized_width, canvas.width)};
}

ShownAxis rows_of(const Placement& placement, Size canvas) {
    return ShownAxis{placement.crop.height, placement.resized_height,
                     visible(placement.top, placement.resized_height, canvas.height)};
}

DeviceWindows write_windows(const ShownAxis& axis, unsigned char* descriptors, std::size_t* used) {
    DeviceWindows windows;
    const std::size_t count = static_cast<std::size_t>(axis.count());
    windows.taps = static_cast<std::int32_t>(most_antialiased_taps(axis.source_side, axis.resized_side));
    windows.firsts = static_cast<std::uint32_t>(*used);
    windows.counts = static_cast<std::uint32_t>(*used + 4 * count);
    windows.weights = static_cast<std::uint32_t>(*used + 8 * count);
    *used += axis.table_bytes();
    std::int32_t* firsts = reinterpret_cast<std::int32_t*>(descriptors + windows.firsts);
    std::int32_t* counts = reinterpret_cast<std::int32_t*>(descriptors + windows.counts);
    std::int32_t* weights = reinterpret_cast<std::int32_t*>(descriptors + windows.weights);
    std::vector<std::int32_t> own(static_cast<std::size_t>(windows.taps));
    for (std::size_t i = 0; i < count; ++i) {
        const AntialiasedWindow window = antialiased_window(
            axis.source_side, axis.resized_side, axis.visible.begin + static_cast<std::int64_t>(i), own.data());
        firsts[i] = static_cast<std::int32_t>(window.first);
        counts[i] = static_cast<std::int32_t>(window.count);
        for (std::size_t tap = 0; tap < own.size(); ++tap) {
            weights[tap * count + i] = static_cast<std::int64_t>(tap) < window.count ? own[tap] : 0;
        }
    }
    return windows;
}

DeviceImage describe_image(const ImageView& image, const Placement& placement, Size canvas) {
    const ShownAxis columns = columns_of(placement, canvas);
    ShownAxis rows = rows_of(placement, canvas);
    if (columns.count() == 0) rows.visible.end = rows.visible.begin;
    DeviceImage result{};
    result.row_0 = image.data + placement.crop.y * image.row_pitch;
    result.row_pitch = image.row_pitch;
    if (image.format == PixelFormat::kNv12) {
        result.chroma_0 = image.chroma + placement.crop.y / 2 * image.chroma_pitch;
        result.chroma_pitch = image.chroma_pitch;
        result.odd_top = static_cast<std::int32_t>(placement.crop.y % 2);
        result.pixel_bytes = 1;
    } else {
        result.is_grey = image.channels == 1 ? 1 : 0;
        result.pixel_bytes = image.channels;
    }
    result.row_bytes = static_cast<std::int32_t>(image.width * result.pixel_bytes);
    result.crop_start = static_cast<std::int32_t>(placement.crop.x * result.pixel_bytes);
    result.crop_width = static_cast<std::int32_t>(placement.crop.width);
    result.crop_height = static_cast<std::int32_t>(placement.crop.height);
    result.left = static_cast<std::int32_t>(placement.left);
    result.top = static_cast<std::int32_t>(placement.top);
    result.column_begin = static_cast<std::int32_t>(std::max<std::int64_t>(0, placement.left));
    result.column_end = static_cast<std::int32_t>(result.column_begin + columns.count());
    result.row_begin = static_cast<std::int32_t>(std::max<std::int64_t>(0, placement.top));
    result.row_end = static_cast<std::int32_t>(result.row_begin + rows.count());
    result.column_step = resize::source_step(placement.crop.width, placement.resized_width);
    result.row_step = resize::source_step(placement.crop.height, placement.resized_height);
    return result;
}

Status check_canvas(const TensorView& destination, std::int64_t count) {
    Status status = check_destination(destination, count);
    if (!status.ok()) return status;
    if (destination.shape[2] > kMostCanvasRows || count > kMostImages) {
        return Status::invalid_argument("destination holds " + std::to_string(count) + " canvases of " +
                                        std::to_string(destination.shape[2]) + " rows; a device draws at most " +
                                        std::to_string(kMostImages) + " of " + std::to_string(kMostCanvasRows));
    }
    return Status();
}

}  // namespace

std::size_t preprocess_descriptor_bytes(const Placement* placements, std::int64_t count, Interpolation interpolation,
                                        Size canvas) {
    std::size_t bytes = header_bytes(std::max<std::int64_t>(0, count));
    if (interpolation != Interpolation::kAntialiased) return bytes;
    for (std::int64_t n = 0; n < count; ++n) {
        bytes += columns_of(placements[n], canvas).table_bytes() + rows_of(placements[n], canvas).table_bytes();
    }
    return bytes;
}

Status describe_preprocess(const ImageView* images, const Placement* placements, std::int64_t count,
                           const PreprocessParams& params, const TensorView& destination, void* descriptors,
                           std::size_t descriptor_bytes) {
    return guarded("preprocess: not enough memory to describe the images", [&]() -> Status {
        if (count < 0) return Status::invalid_argument("count is " + std::to_string(count) + "; it cannot be negative");
        if (descriptors == nullptr || (count > 0 && (images == nullptr || placements == nullptr))) {
            return Status::invalid_argument("images, placements or descriptors is a null pointer");
        }
        Status status = check_canvas(destination, count);
        if (status.ok()) status = check_params(params, destination.dtype);
        for (std::int64_t n = 0; n < count && status.ok(); ++n) {
            status = check_image(images[n], "images[" + std::to_string(n) + "]");
            if (status.ok())
                status = check_placement(placements[n], images[n], "placements[" + std::to_string(n) + "]");
            if (status.ok() && images[n].width * images[n].channels > INT32_MAX) {
                status = Status::invalid_argument("images[" + std::to_string(n) + "] has shape " + shape_of(images[n]) +
                                                  "; a row may have less than 2^31 bytes on a device");
            }
            if (status.ok() && overlap(images[n], destination)) {
                status = Status::invalid_argument("destination overlaps images[" + std::to_string(n) +
                                                  "]; give it memory of its own");
            }
        }
        if (!status.ok()) return status;
        const Size canvas{destination.shape[2], destination.shape[3]};
        const std::size_t needed = preprocess_descriptor_bytes(placements, count, params.interpolation, canvas);
        if (needed > descriptor_bytes || needed > UINT32_MAX) {
            return Status::invalid_argument("descriptors have room for " + std::to_string(descriptor_bytes) +
                                            " bytes, these images take " + std::to_string(needed) +
                                            "; give preprocess_descriptor_bytes, less than 2^32");
        }
        // All of it: what the compiler leaves between fields is copied too.
        std::memset(descriptors, 0, needed);
        DevicePreprocessParams header{};
        bool exact_division = false;
        bool divides = false;
        plan_normalization(params, header.normalization, &exact_division, &divides);
        header.exact_division = exact_division ? 1 : 0;
        header.divides = divides ? 1 : 0;
        for (int channel = 0; channel < 3; ++channel) {
            header.source_channel[channel] = params.swap_channels ? 2 - channel : channel;
        }
        header.keep_padding = params.keep_padding ? 1 : 0;
        header.pad_value = params.pad_value;
        unsigned char* bytes = static_cast<unsigned char*>(descriptors);
        std::memcpy(bytes, &header, sizeof(header));
        std::size_t used = header_bytes(count);
        for (std::int64_t n = 0; n < count; ++n) {
            DeviceImage image = describe_image(images[n], placements[n], canvas);
            if (params.interpolation == Interpolation::kAntialiased) {
                image.column_windows = write_windows(columns_of(placements[n], canvas), bytes, &used);
                image.row_windows = write_windows(rows_of(placements[n], canvas), bytes, &used);
            }
            std::memcpy(bytes + sizeof(header) + static_cast<std::size_t>(n) * sizeof(image), &image, sizeof(image));
        }
        return Status();
    });
}

Status preprocess_on_device(Device& device, const void* descriptors, std::int64_t count, Interpolation interpolation,
                            const TensorView& destination, Stream stream) {
    return guarded("preprocess: no memory for a launch", [&]() -> Status {
        const Status status = check_canvas(destination, count);
        if (!status.ok()) return status;
        if (count == 0) return Status();
        if (descriptors == nullptr || reinterpret_cast<std::uintptr_t>(descriptors) % 16 != 0) {
            return Status::invalid_argument("descriptors must be a 16-byte aligned pointer");
        }
        DeviceCanvas canvas{};
        canvas.data = destination.data;
        canvas.image_stride = destination.strides[0];
        canvas.plane_stride = destination.strides[1];
        canvas.row_stride = destination.strides[2];
        canvas.image_count = static_cast<std::int32_t>(count);
        canvas.height = static_cast<std::int32_t>(destination.shape[2]);
        canvas.width = static_cast<std::int32_t>(destination.shape[3]);
        const bool is_antialiased = interpolation == Interpolation::kAntialiased;
        return RFK_LAUNCH_ON(
            device, "preprocess",
            kernels::launch_preprocess(descriptors, canvas, destination.dtype, is_antialiased, stream));
    });
}

}  // namespace rfkernels
