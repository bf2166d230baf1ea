#include <algorithm>
#include <cmath>
#include <string>

#include "device/guarded.h"
#include "ops/preprocess/checks.h"
#include "rfkernels/preprocess.h"

namespace rfkernels {
namespace {

std::string text(const Size& size) {
    return std::to_string(size.height) + " x " + std::to_string(size.width);
}

Status check_size(const char* name, const Size& size) {
    if (size.width >= 1 && size.height >= 1 && size.width <= kMaxSide && size.height <= kMaxSide) return Status();
    return Status::invalid_argument(std::string(name) + " is " + text(size) +
                                    " (height x width); sides must be 1 to 2^24 pixels");
}

Status check(const Rectangle& crop, const Size& canvas) {
    Status status = check_size("the image", Size{crop.height, crop.width});
    if (status.ok()) status = check_size("size", canvas);
    return status;
}

double ratio(std::int64_t numerator, std::int64_t denominator) {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
}

/// The order of operations counts: int(77 * (640 / 77)) is 639, not 640, and the peers compute it so.
std::int64_t resized_side(std::int64_t side, double scale, SizeRounding rounding) {
    const double exact = static_cast<double>(side) * scale;
    const double whole = rounding == SizeRounding::kTruncate ? std::trunc(exact) : std::nearbyint(exact);
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(whole));
}

std::int64_t padding_before(std::int64_t canvas_side, std::int64_t side, SizeRounding rounding) {
    const double half = static_cast<double>(canvas_side - side) / 2.0;
    return static_cast<std::int64_t>(rounding == SizeRounding::kTruncate ? std::trunc(half)
                                                                         : std::nearbyint(half - 0.1));
}

}  // namespace

Rectangle whole_image(std::int64_t height, std::int64_t width) {
    return Rectangle{0, 0, width, height};
}

Status plan_letterbox(const Rectangle& crop, Size canvas, SizeRounding rounding, Placement* placement) {
    return guarded("placement: not enough memory", [&]() -> Status {
        Status status = check(crop, canvas);
        if (!status.ok()) return status;
        const double scale = std::min(ratio(canvas.width, crop.width), ratio(canvas.height, crop.height));
        Placement result;
        result.crop = crop;
        result.resized_width = resized_side(crop.width, scale, rounding);
        result.resized_height = resized_side(crop.height, scale, rounding);
        result.left = padding_before(canvas.width, result.resized_width, rounding);
        result.top = padding_before(canvas.height, result.resized_height, rounding);
        // V2 maps boxes back by the ideal scale, ultralytics by what each side was really resized by.
        const bool ideal = rounding == SizeRounding::kTruncate;
        result.scale_x = ideal ? scale : ratio(result.resized_width, crop.width);
        result.scale_y = ideal ? scale : ratio(result.resized_height, crop.height);
        *placement = result;
        return Status();
    });
}

Status plan_stretch(const Rectangle& crop, Size canvas, Placement* placement) {
    return guarded("placement: not enough memory", [&]() -> Status {
        Status status = check(crop, canvas);
        if (!status.ok()) return status;
        Placement result;
        result.crop = crop;
        result.resized_width = canvas.width;
        result.resized_height = canvas.height;
        result.scale_x = ratio(canvas.width, crop.width);
        result.scale_y = ratio(canvas.height, crop.height);
        *placement = result;
        return Status();
    });
}

Status plan_center_crop(const Rectangle& crop, Size canvas, Placement* placement) {
    return guarded("placement: not enough memory", [&]() -> Status {
        Status status = check(crop, canvas);
        if (!status.ok()) return status;
        Placement result;
        result.crop = crop;
        result.resized_width = crop.width;
        result.resized_height = crop.height;
        // Half of what is missing before it, or of what is too much cut off; the odd pixel is on the other side either
        // way.
        result.left = (canvas.width - crop.width) / 2;
        result.top = (canvas.height - crop.height) / 2;
        *placement = result;
        return Status();
    });
}

Status plan_shortest_side_crop(const Rectangle& crop, Size canvas, Placement* placement) {
    if (canvas.height != canvas.width) return plan_stretch(crop, canvas, placement);
    return guarded("placement: not enough memory", [&]() -> Status {
        Status status = check(crop, canvas);
        if (!status.ok()) return status;
        // Whole numbers: a double quotient of these, cut off, is the same.
        const std::int64_t side = canvas.width;
        const bool is_wide = crop.height < crop.width;
        Placement result;
        result.crop = crop;
        result.resized_width = is_wide ? side * crop.width / crop.height : side;
        result.resized_height = is_wide ? side : side * crop.height / crop.width;
        status = check_size("the resized image", Size{result.resized_height, result.resized_width});
        if (!status.ok()) return status;
        const auto cut_off = [side](std::int64_t resized) {
            return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(resized - side) / 2.0));
        };
        result.left = -cut_off(result.resized_width);
        result.top = -cut_off(result.resized_height);
        result.scale_x = ratio(result.resized_width, crop.width);
        result.scale_y = ratio(result.resized_height, crop.height);
        *placement = result;
        return Status();
    });
}

Status plan_fit_longer_edge(const Rectangle& crop, Size limit, Placement* placement, Size* canvas) {
    return guarded("placement: not enough memory", [&]() -> Status {
        Status status = check(crop, limit);
        if (!status.ok()) return status;
        const double scale_x = ratio(limit.width, crop.width);
        const double scale_y = ratio(limit.height, crop.height);
        Placement result;
        result.crop = crop;
        const bool width_decides = scale_x < scale_y;
        result.resized_width =
            width_decides ? limit.width : resized_side(crop.width, scale_y, SizeRounding::kHalfToEven);
        result.resized_height =
            width_decides ? resized_side(crop.height, scale_x, SizeRounding::kHalfToEven) : limit.height;
        result.scale_x = ratio(result.resized_width, crop.width);
        result.scale_y = ratio(result.resized_height, crop.height);
        *placement = result;
        *canvas = Size{result.resized_height, result.resized_width};
        return Status();
    });
}

Status plan_static_crop(std::int64_t height, std::int64_t width, double x_min, double x_max, double y_min, double y_max,
                        Rectangle* crop) {
    return guarded("placement: not enough memory", [&]() -> Status {
        const Status status = check_size("the image", Size{height, width});
        if (!status.ok()) return status;
        const double percentages[] = {x_min, x_max, y_min, y_max};
        const char* names[] = {"x_min", "x_max", "y_min", "y_max"};
        for (int i = 0; i < 4; ++i) {
            if (!(percentages[i] >= 0.0 && percentages[i] <= 100.0)) {
                return Status::invalid_argument(std::string(names[i]) + " of the static crop is " +
                                                std::to_string(percentages[i]) + "; give a percentage, 0 to 100");
            }
        }
        const auto pixel = [](double percentage, std::int64_t side) {
            return static_cast<std::int64_t>(percentage / 100.0 * static_cast<double>(side));
        };
        Rectangle result;
        result.x = pixel(x_min, width);
        result.y = pixel(y_min, height);
        result.width = pixel(x_max, width) - result.x;
        result.height = pixel(y_max, height) - result.y;
        if (result.width < 1 || result.height < 1) {
            return Status::invalid_argument("the static crop leaves nothing of an image of " +
                                            text(Size{height, width}) + " (height x width); widen it");
        }
        *crop = result;
        return Status();
    });
}

}  // namespace rfkernels
