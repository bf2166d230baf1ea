#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "device/guarded.h"
#include "rfkernels/masks.h"

namespace rfkernels {
namespace {

constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kLongestSide = 1 << 20;  // keeps every product below within 64 bits
/// Pixels of the prototypes, enlarged four times at most: tables hold positions in 32 bits, and a weight for each of
/// them.
constexpr std::int64_t kFarthest = 4 * kLongestSide;

std::int64_t rounded(double value) {
    return static_cast<std::int64_t>(std::nearbyint(value));  // half to even, as Python's round
}

Status check_side(std::int64_t side, const char* name) {
    if (side >= 1 && side <= kLongestSide) return Status();
    return Status::invalid_argument(std::string(name) + " is " + std::to_string(side) + "; give 1 to " +
                                    std::to_string(kLongestSide));
}

Status check_request(const MaskGridRequest& request) {
    const std::pair<std::int64_t, const char*> sides[] = {
        {request.image_width, "image width"},
        {request.image_height, "image height"},
        {request.network_width, "network width"},
        {request.network_height, "network height"},
        {request.prototype_width, "prototype width"},
        {request.prototype_height, "prototype height"},
        {request.placement.crop.width, "placement.crop.width"},
        {request.placement.crop.height, "placement.crop.height"},
        {request.placement.resized_width, "placement.resized_width"},
        {request.placement.resized_height, "placement.resized_height"},
    };
    for (const auto& [side, name] : sides) {
        Status status = check_side(side, name);
        if (!status.ok()) return status;
    }
    const Placement& placement = request.placement;
    const auto is_scale = [](double scale) {
        return scale >= std::numeric_limits<float>::min() && scale <= std::numeric_limits<float>::max();
    };
    if (!is_scale(placement.scale_x) || !is_scale(placement.scale_y)) {
        return Status::invalid_argument("placement has scale " + std::to_string(placement.scale_x) + ", " +
                                        std::to_string(placement.scale_y) +
                                        "; give positive numbers that float32 holds");
    }
    const bool has_crop = placement.crop.x >= 0 && placement.crop.y >= 0 &&
                          placement.crop.x <= request.image_width - placement.crop.width &&
                          placement.crop.y <= request.image_height - placement.crop.height;
    if (!has_crop) return Status::invalid_argument("placement.crop reaches beyond the image; give a part of it");
    if (std::abs(placement.left) > kLongestSide || std::abs(placement.top) > kLongestSide) {
        return Status::invalid_argument("placement is " + std::to_string(placement.left) + ", " +
                                        std::to_string(placement.top) + " from the corner; give at most " +
                                        std::to_string(kLongestSide));
    }
    if (!(request.resolution_factor >= 0.0 && request.resolution_factor <= 1.0)) {
        return Status::invalid_argument("resolution_factor is " + std::to_string(request.resolution_factor) +
                                        "; give a number from 0 to 1");
    }
    if (request.resolution_factor != 1.0 && request.convention != MaskConvention::kV2) {
        return Status::invalid_argument("resolution_factor is " + std::to_string(request.resolution_factor) +
                                        "; only the convention v2 has masks of a reduced size");
    }
    return Status();
}

/// Where one axis of the picture lies in the prototypes and in the grid.
struct Axis {
    std::int64_t source_first = 0;
    std::int64_t source_size = 0;
    std::int64_t resized = 0;
    std::int64_t offset = 0;
    std::int64_t grid = 0;
};

/// One axis of a request.
struct Side {
    std::int64_t image, crop_first, crop, network, prototype, padding_before, resized;
};

Axis v2_axis(const Side& side, double factor, bool has_canvas) {
    const double scale = static_cast<double>(side.prototype) / static_cast<double>(side.network);
    const std::int64_t padding_after = side.network - side.padding_before - side.resized;
    const std::int64_t before = rounded(scale * static_cast<double>(side.padding_before));
    const std::int64_t after = rounded(scale * static_cast<double>(padding_after));
    Axis axis;
    axis.source_first = std::min(before, side.prototype - 1);
    // A picture so narrow that nothing is left of it between its paddings keeps one pixel.
    axis.source_size = std::max<std::int64_t>(side.prototype - after - axis.source_first, 1);
    const auto grid = static_cast<double>(axis.source_size), whole = static_cast<double>(side.crop);
    axis.resized =
        factor == 1.0 ? side.crop : std::max<std::int64_t>(rounded(grid * (1.0 - factor) + whole * factor), 1);
    axis.grid = axis.resized;
    if (has_canvas) {
        const double reduced = static_cast<double>(axis.resized) / whole;
        axis.offset = rounded(static_cast<double>(side.crop_first) * reduced);
        axis.grid =
            std::max({std::int64_t{1}, rounded(static_cast<double>(side.image) * reduced), axis.offset + axis.resized});
    }
    return axis;
}

Axis network_axis(const Side& side) {
    return Axis{0, side.prototype, side.network, 0, side.network};
}

/// `gain` is prototype pixels, enlarged `presampling` times, for a pixel of the picture.
Axis native_axis(const Side& side, double gain, bool is_letterbox, int presampling) {
    const std::int64_t enlarged = side.prototype * presampling;
    Axis axis{0, enlarged, side.crop, side.crop_first, side.image};
    if (is_letterbox) {
        axis.source_size = std::max<std::int64_t>(rounded(static_cast<double>(side.crop) * gain), 1);
        axis.source_first = rounded(static_cast<double>(enlarged - axis.source_size) / 2.0 - 0.1);
    } else {
        const double scale = static_cast<double>(enlarged) / static_cast<double>(side.network);
        axis.source_first = rounded(static_cast<double>(side.padding_before) * scale);
        axis.source_size = std::max<std::int64_t>(rounded(static_cast<double>(side.resized) * scale), 1);
    }
    return axis;
}

/// A placement far beyond the network's input shows the image that far beyond the prototypes.
Status check_axis(const Axis& axis, const char* name) {
    if (std::abs(axis.source_first) <= kFarthest && axis.source_size <= kFarthest) return Status();
    return Status::invalid_argument("placement." + std::string(name) + " puts the image on pixels " +
                                    std::to_string(axis.source_first) + " to " +
                                    std::to_string(axis.source_first + axis.source_size) +
                                    " of the prototypes; give a placement in the network's input");
}

/// The least enlargement of the prototypes after which the padding ends on whole pixels.
int native_presampling(const Side& horizontal, const Side& vertical, double gain) {
    const auto padding = [&](const Side& side) {
        return side.network - std::max<std::int64_t>(rounded(static_cast<double>(side.crop) * gain), 1);
    };
    constexpr std::int64_t kPrototypeStride = 4;
    const std::int64_t both = padding(horizontal) | padding(vertical);
    return static_cast<int>(kPrototypeStride / std::gcd(kPrototypeStride, both | both / 2));
}

}  // namespace

Status plan_mask_grid(const MaskGridRequest& request, MaskGrid* grid) {
    return guarded("not enough memory to plan a grid of masks", [&]() -> Status {
        Status status = check_request(request);
        if (!status.ok()) return status;
        const Placement& placement = request.placement;
        const Rectangle& crop = placement.crop;
        const Side horizontal{
            request.image_width,    crop.x, crop.width, request.network_width, request.prototype_width, placement.left,
            placement.resized_width};
        const Side vertical{request.image_height,
                            crop.y,
                            crop.height,
                            request.network_height,
                            request.prototype_height,
                            placement.top,
                            placement.resized_height};
        MaskGrid planned;
        planned.prototype_width = request.prototype_width;
        planned.prototype_height = request.prototype_height;
        Axis x, y;
        if (request.convention == MaskConvention::kV2) {
            const bool has_canvas = crop.width != request.image_width || crop.height != request.image_height;
            x = v2_axis(horizontal, request.resolution_factor, has_canvas);
            y = v2_axis(vertical, request.resolution_factor, has_canvas);
            planned.antialias = true;
            planned.cut_probabilities = true;
            planned.box_scale_x = static_cast<double>(request.network_width) / request.prototype_width;
            planned.box_scale_y = static_cast<double>(request.network_height) / request.prototype_height;
        } else if (request.convention == MaskConvention::kUltralytics) {
            x = network_axis(horizontal);
            y = network_axis(vertical);
        } else {
            const auto gain_for = [&](double enlargement) {
                return std::min(enlargement * request.prototype_width / static_cast<double>(crop.width),
                                enlargement * request.prototype_height / static_cast<double>(crop.height));
            };
            const double network_gain = std::min(static_cast<double>(request.network_width) / crop.width,
                                                 static_cast<double>(request.network_height) / crop.height);
            // A letterbox fills one side; anything else is taken as it was placed.
            const auto fits = [&](const Side& side) {
                return std::abs(side.resized - static_cast<double>(side.crop) * network_gain) <= 1.0 &&
                       side.padding_before >= 0;
            };
            const bool is_letterbox = fits(horizontal) && fits(vertical);
            planned.presampling = is_letterbox ? native_presampling(horizontal, vertical, network_gain) : 1;
            const double gain = gain_for(planned.presampling);
            x = native_axis(horizontal, gain, is_letterbox, planned.presampling);
            y = native_axis(vertical, gain, is_letterbox, planned.presampling);
            planned.box_left = static_cast<double>(placement.left);
            planned.box_top = static_cast<double>(placement.top);
            planned.box_scale_x = placement.scale_x;
            planned.box_scale_y = placement.scale_y;
            planned.box_offset_x = static_cast<double>(crop.x);
            planned.box_offset_y = static_cast<double>(crop.y);
        }
        status = check_axis(x, "left");
        if (status.ok()) status = check_axis(y, "top");
        if (!status.ok()) return status;
        planned.source = Rectangle{x.source_first, y.source_first, x.source_size, y.source_size};
        planned.resized_width = x.resized;
        planned.resized_height = y.resized;
        planned.left = x.offset;
        planned.top = y.offset;
        planned.width = x.grid;
        planned.height = y.grid;
        if (planned.width > kMostPixels / planned.height) {
            return Status::invalid_argument("a grid of masks of " + std::to_string(planned.height) + " x " +
                                            std::to_string(planned.width) +
                                            " is too large; an image may have less than 2^31 pixels");
        }
        *grid = planned;
        return Status();
    });
}

}  // namespace rfkernels
