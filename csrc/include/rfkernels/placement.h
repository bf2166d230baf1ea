#pragma once

#include <cstdint>

#include "rfkernels/image.h"

namespace rfkernels {

/// Where an image lies in the network's input ("the canvas"). `preprocess` draws by it, `detection` maps boxes back.
///
///   canvas[y][x] = resized[y - top][x - left]   where that exists, the pad value elsewhere
///   resized      = `crop` of the source, resized to resized_width x resized_height
///   source x     = (canvas x - left) / scale_x + crop.x        (y alike)
///
/// scale_x and scale_y are what the convention divides by on the way back, which need not be resized / crop size:
/// V2 divides by the ideal scale, before the resized size was cut to whole pixels (inference-models 0.39).
struct Placement {
    Rectangle crop;  ///< the part of the source that is used; the whole image where there is no static crop
    std::int64_t resized_width = 0;
    std::int64_t resized_height = 0;
    std::int64_t left = 0;  ///< negative where the canvas shows only the middle of the resized image (centre crop)
    std::int64_t top = 0;
    double scale_x = 1.0;
    double scale_y = 1.0;
};

}  // namespace rfkernels
