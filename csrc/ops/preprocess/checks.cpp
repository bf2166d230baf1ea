#include "ops/preprocess/checks.h"

namespace rfkernels {

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

Status check_image(const ImageView& image, const std::string& name) {
    if (image.data == nullptr) return Status::invalid_argument(name + " has no data (a null pointer)");
    if (image.channels != 1 && image.channels != 3 && image.channels != 4) {
        return Status::invalid_argument(name + " has shape " + shape_of(image) +
                                        "; give 1 (grey), 3 or 4 (colour, alpha ignored) channels");
    }
    if (image.height < 1 || image.width < 1 || image.height > kMaxSide || image.width > kMaxSide) {
        return Status::invalid_argument(name + " has shape " + shape_of(image) + "; sides must be 1 to 2^24 pixels");
    }
    if (image.row_pitch < image.width * image.channels) {
        return Status::invalid_argument(name + " has a row pitch of " + std::to_string(image.row_pitch) +
                                        " bytes, less than a row of shape " + shape_of(image) + " takes");
    }
    if (image.row_pitch > kMaxExtent / image.height) {
        return Status::invalid_argument(name + " has a row pitch of " + std::to_string(image.row_pitch) +
                                        " bytes, more than memory can hold " + std::to_string(image.height) + " of");
    }
    return Status();
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
    std::uintptr_t destination_size = static_cast<std::uintptr_t>(element_size(destination.dtype));
    for (int axis = 0; axis < destination.rank; ++axis) {
        destination_size += static_cast<std::uintptr_t>((destination.shape[axis] - 1) * destination.strides[axis]);
    }
    const std::uintptr_t image_size =
        static_cast<std::uintptr_t>((image.height - 1) * image.row_pitch + image.width * image.channels);
    const std::uintptr_t image_begin = reinterpret_cast<std::uintptr_t>(image.data);
    const std::uintptr_t destination_begin = reinterpret_cast<std::uintptr_t>(destination.data);
    return image_begin < destination_begin + destination_size && destination_begin < image_begin + image_size;
}

}  // namespace rfkernels
