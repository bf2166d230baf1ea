#include "device/guarded.h"
#include "ops/preprocess/checks.h"
#include "rfkernels/preprocess.h"

namespace rfkernels {

Status grayscale(const ImageView& image, bool red_first, const TensorView& destination) {
    return guarded("grayscale: not enough memory", [&]() -> Status {
        Status status = check_packed_image(image, "image");
        if (status.ok()) status = check_image_destination(destination, image);
        if (!status.ok()) return status;
        const int red = red_first ? 0 : 2;
        std::uint8_t* target = static_cast<std::uint8_t*>(destination.data);
        for (std::int64_t y = 0; y < image.height; ++y) {
            const std::uint8_t* pixel = image.data + y * image.row_pitch;
            for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels, target += 3) {
                const int grey = image.channels == 1
                                     ? pixel[0]
                                     : (9798 * pixel[red] + 19235 * pixel[1] + 3735 * pixel[2 - red] + 16384) >> 15;
                target[0] = target[1] = target[2] = static_cast<std::uint8_t>(grey);
            }
        }
        return Status();
    });
}

}  // namespace rfkernels
