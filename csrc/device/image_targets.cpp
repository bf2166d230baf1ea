#include "device/image_targets.h"

#include <limits>
#include <string>
#include <utility>

namespace rfkernels {
namespace {

constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max();

AxisBack axis_back(std::int64_t pad, double scale, std::int64_t crop, std::int64_t size) {
    return AxisBack{static_cast<float>(pad), static_cast<float>(scale), static_cast<float>(crop),
                    static_cast<float>(size)};
}

}  // namespace

Status check_images(const ImageTarget* images, std::int64_t image_count, std::int64_t batch_size) {
    if (image_count != batch_size) {
        return Status::invalid_argument("placements has " + std::to_string(image_count) + " entries for a batch of " +
                                        std::to_string(batch_size) + " images; give one for each image");
    }
    for (std::int64_t i = 0; i < image_count; ++i) {
        const Placement& placement = images[i].placement;
        // Positions are divided by the scales in float32, where a smaller or greater number would be 0 or infinity.
        const auto usable = [](double scale) {
            return scale >= std::numeric_limits<float>::min() && scale <= std::numeric_limits<float>::max();
        };
        if (!usable(placement.scale_x) || !usable(placement.scale_y)) {
            return Status::invalid_argument(
                "placements[" + std::to_string(i) + "] has scale " + std::to_string(placement.scale_x) + ", " +
                std::to_string(placement.scale_y) + "; give positive numbers that float32 holds");
        }
        const std::pair<const char*, std::int64_t> offsets[] = {{"left", placement.left},
                                                                {"top", placement.top},
                                                                {"crop.x", placement.crop.x},
                                                                {"crop.y", placement.crop.y}};
        for (const auto& [name, value] : offsets) {
            if (value < -kMostPixels || value > kMostPixels) {
                return Status::invalid_argument("placements[" + std::to_string(i) + "] has " + name + " " +
                                                std::to_string(value) + "; give less than 2^31 pixels");
            }
        }
        if (images[i].image_width < 1 || images[i].image_height < 1) {
            return Status::invalid_argument("image_sizes[" + std::to_string(i) + "] is " +
                                            std::to_string(images[i].image_height) + " x " +
                                            std::to_string(images[i].image_width) + "; give positive numbers");
        }
    }
    return Status();
}

AxisBack x_axis_back(const ImageTarget& image) {
    const Placement& placement = image.placement;
    return axis_back(placement.left, placement.scale_x, placement.crop.x, image.image_width);
}

AxisBack y_axis_back(const ImageTarget& image) {
    const Placement& placement = image.placement;
    return axis_back(placement.top, placement.scale_y, placement.crop.y, image.image_height);
}

}  // namespace rfkernels
