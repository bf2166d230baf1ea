#include "ops/preprocess/checks.h"

#include <algorithm>
#include <cmath>

#include "device/memory_extent.h"

namespace rfkernels {

constexpr int kDestinationChannels = 3;

std::string shape_of(const ImageView& image) {
    return "[" + std::to_string(image.height) + ", " + std::to_string(image.width) + ", " +
           std::to_string(image.channels) + "]";
}

std::int64_t element_size(DataType dtype) {
    switch (dtype) {
        case DataType::kUint8:
            return 1;
        case DataType::kFloat16:
        case DataType::kBfloat16:
            return 2;
        default:
            return 4;
    }
}

namespace {

/// Bytes of a row of the plane at `data`.
std::int64_t row_bytes_of(const ImageView& image) {
    return image.format == PixelFormat::kNv12 ? image.width : image.width * image.channels;
}

Status check_pitch(std::int64_t pitch, std::int64_t row_bytes, std::int64_t rows, const std::string& name,
                   const std::string& shape) {
    if (pitch < row_bytes) {
        return Status::invalid_argument(name + " of " + std::to_string(pitch) + " bytes, less than a row of shape " +
                                        shape + " takes");
    }
    if (pitch > kMaxExtent / rows) {
        return Status::invalid_argument(name + " of " + std::to_string(pitch) + " bytes, more than memory can hold " +
                                        std::to_string(rows) + " of");
    }
    return Status();
}

/// What an NV12 image has beside a plane of bytes.
Status check_nv12(const ImageView& image, const std::string& name) {
    const std::string luma_shape = "[" + std::to_string(image.height) + ", " + std::to_string(image.width) + "]";
    if (image.chroma == nullptr) return Status::invalid_argument(name + " is NV12 without chroma (a null pointer)");
    if (image.channels != 3) {
        return Status::invalid_argument(name + " is NV12 of " + std::to_string(image.channels) +
                                        " channels; give 3, those of the picture it stands for");
    }
    if (image.height % 2 != 0 || image.width % 2 != 0) {
        return Status::invalid_argument(name + " is NV12 with luma of shape " + luma_shape +
                                        "; both sides must be even, as four pixels share their chroma");
    }
    const Status status =
        check_pitch(image.row_pitch, image.width, image.height, name + " has a luma pitch", luma_shape);
    if (!status.ok()) return status;
    return check_pitch(image.chroma_pitch, image.width, image.height / 2, name + " has a chroma pitch",
                       "[" + std::to_string(image.height / 2) + ", " + std::to_string(image.width / 2) + ", 2]");
}

MemoryExtent extent_of_plane(const std::uint8_t* data, std::int64_t rows, std::int64_t pitch, std::int64_t row_bytes) {
    return {data, static_cast<std::uintptr_t>((rows - 1) * pitch + row_bytes)};
}

}  // namespace

Status check_image(const ImageView& image, const std::string& name) {
    if (image.data == nullptr) return Status::invalid_argument(name + " has no data (a null pointer)");
    if (image.channels != 1 && image.channels != 3 && image.channels != 4) {
        return Status::invalid_argument(name + " has shape " + shape_of(image) +
                                        "; give 1 (grey), 3 or 4 (colour, alpha ignored) channels");
    }
    if (image.height < 1 || image.width < 1 || image.height > kMaxSide || image.width > kMaxSide) {
        return Status::invalid_argument(name + " has shape " + shape_of(image) + "; sides must be 1 to 2^24 pixels");
    }
    if (image.format == PixelFormat::kNv12) return check_nv12(image, name);
    return check_pitch(image.row_pitch, row_bytes_of(image), image.height, name + " has a row pitch", shape_of(image));
}

Status check_packed_image(const ImageView& image, const std::string& name) {
    if (image.format == PixelFormat::kNv12) {
        return Status::invalid_argument(name + " is NV12, which only preprocess takes; give packed pixels");
    }
    return check_image(image, name);
}

Status check_image_destination(const TensorView& destination, const ImageView& image) {
    const std::int64_t strides[] = {image.width * 3, 3, 1};
    const std::int64_t shape[] = {image.height, image.width, 3};
    bool sound = destination.data != nullptr && destination.dtype == DataType::kUint8 && destination.rank == 3;
    for (int axis = 0; sound && axis < 3; ++axis) {
        sound = destination.shape[axis] == shape[axis] && destination.strides[axis] == strides[axis];
    }
    if (!sound) {
        return Status::invalid_argument("destination must be C-contiguous uint8 [" + std::to_string(image.height) +
                                        ", " + std::to_string(image.width) + ", 3], like the image");
    }
    if (overlap(image, destination)) {
        return Status::invalid_argument("destination overlaps the image; give it memory of its own");
    }
    return Status();
}

bool overlap(const ImageView& image, const TensorView& destination) {
    const MemoryExtent written(destination);
    if (written.meets(extent_of_plane(image.data, image.height, image.row_pitch, row_bytes_of(image)))) return true;
    return image.format == PixelFormat::kNv12 &&
           written.meets(extent_of_plane(image.chroma, image.height / 2, image.chroma_pitch, image.width));
}

Status check_placement(const Placement& placement, const ImageView& image, const std::string& name) {
    const Rectangle& crop = placement.crop;
    if (crop.x < 0 || crop.y < 0 || crop.width < 1 || crop.height < 1 || crop.width > image.width - crop.x ||
        crop.height > image.height - crop.y) {
        return Status::invalid_argument(
            name + " has the crop x=" + std::to_string(crop.x) + ", y=" + std::to_string(crop.y) +
            ", width=" + std::to_string(crop.width) + ", height=" + std::to_string(crop.height) +
            ", which is not inside its image of shape " + shape_of(image) + "; plan it for this image");
    }
    if (placement.resized_width < 1 || placement.resized_height < 1 || placement.resized_width > kMaxSide ||
        placement.resized_height > kMaxSide) {
        return Status::invalid_argument(name + " resizes to " + std::to_string(placement.resized_height) + " x " +
                                        std::to_string(placement.resized_width) + "; sides must be 1 to 2^24 pixels");
    }
    const auto within = [](std::int64_t start) { return start >= -kMaxSide && start <= kMaxSide; };
    if (!within(placement.left) || !within(placement.top)) {
        return Status::invalid_argument(name + " has left=" + std::to_string(placement.left) +
                                        ", top=" + std::to_string(placement.top) + "; both must be within 2^24");
    }
    return Status();
}

Status check_destination(const TensorView& destination, std::int64_t count) {
    if (destination.rank != 4 || destination.shape[0] != count || destination.shape[1] != kDestinationChannels) {
        std::string shape;
        for (int axis = 0; axis < std::min(destination.rank, kMaxRank); ++axis) {
            shape += (axis == 0 ? "" : ", ") + std::to_string(destination.shape[axis]);
        }
        return Status::invalid_argument("destination has shape [" + shape + "]; it must be [" + std::to_string(count) +
                                        ", 3, height, width], one for each image");
    }
    if (destination.shape[2] < 1 || destination.shape[3] < 1 || destination.shape[2] > kMaxSide ||
        destination.shape[3] > kMaxSide) {
        return Status::invalid_argument("destination is " + std::to_string(destination.shape[2]) + " x " +
                                        std::to_string(destination.shape[3]) + "; sides must be 1 to 2^24 pixels");
    }
    if (destination.dtype == DataType::kInt32) {
        return Status::invalid_argument("destination is int32; give uint8, float16, bfloat16 or float32");
    }
    const std::int64_t element = element_size(destination.dtype);
    bool sound = destination.strides[3] == element;
    for (int axis = 0; axis < 4; ++axis) {
        const std::int64_t stride = destination.strides[axis];
        sound = sound && stride >= 0 && stride % element == 0 &&
                stride <= kMaxExtent / std::max<std::int64_t>(1, destination.shape[axis]);
    }
    if (!sound) {
        return Status::invalid_argument(
            "destination has strides that are negative, too large, not whole elements, or whose columns are not "
            "contiguous");
    }
    if (destination.data == nullptr && count > 0) {
        return Status::invalid_argument("destination has no data (a null pointer)");
    }
    if (reinterpret_cast<std::uintptr_t>(destination.data) % static_cast<std::uintptr_t>(element) != 0) {
        return Status::invalid_argument("destination is not aligned to its " + std::to_string(element) +
                                        "-byte elements; give memory that is");
    }
    return Status();
}

Status check_params(const PreprocessParams& params, DataType dtype) {
    if (dtype == DataType::kUint8 && params.normalization != Normalization::kNone) {
        return Status::invalid_argument("destination is uint8, which cannot hold normalized values; ask for none");
    }
    const char* names[] = {"mean", "std", "scale", "offset"};
    const float* values[] = {params.mean, params.deviation, params.scale, params.offset};
    for (int group = 0; group < 4; ++group) {
        for (int channel = 0; channel < kDestinationChannels; ++channel) {
            if (!std::isfinite(values[group][channel])) {
                return Status::invalid_argument(std::string(names[group]) + " holds " +
                                                std::to_string(values[group][channel]) + "; give finite numbers");
            }
        }
    }
    if (!std::isfinite(params.divisor) || params.divisor == 0.0F) {
        return Status::invalid_argument("divisor is " + std::to_string(params.divisor) +
                                        "; give a finite number other than 0");
    }
    for (float deviation : params.deviation) {
        if (deviation == 0.0F) return Status::invalid_argument("std holds 0; values are divided by it");
    }
    return Status();
}

}  // namespace rfkernels
