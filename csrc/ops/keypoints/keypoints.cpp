#include "rfkernels/keypoints.h"

#include <cmath>
#include <string>
#include <utility>

#include "device/anchors.h"
#include "device/arithmetic.h"
#include "device/guarded.h"
#include "device/image_targets.h"
#include "device/planes.h"
#include "ops/keypoints/checks.h"

namespace rfkernels {
namespace {

constexpr char kNoMemory[] = "keypoints: not enough memory for the points of the chosen anchors";
constexpr std::int64_t kValuesOfPoint = 3;

/// Where a chosen anchor lies.
struct Place {
    std::size_t level = 0;
    std::int64_t anchor = 0;  ///< of the level
    float column = 0.0f;
    float row = 0.0f;
    float stride = 0.0f;
};

/// The chosen indices are read here only, once each: another thread of the caller may be writing them.
Status find_places(const ChosenAnchors& chosen, const std::vector<Grid>& grids, std::int64_t image,
                   std::vector<Place>* places) {
    if (chosen.count < 0 || chosen.count > kMostKeypointChannels) {
        return Status::invalid_argument("anchor_indices[" + std::to_string(image) + "] has " +
                                        std::to_string(chosen.count) + " entries; give at most 2147483647");
    }
    if (chosen.count > 0 && chosen.anchor_indices == nullptr) {
        return Status::invalid_argument("anchor_indices[" + std::to_string(image) + "] is a null pointer");
    }
    const std::int64_t end = grids.back().first_anchor + grids.back().anchor_count;
    places->reserve(static_cast<std::size_t>(chosen.count));
    for (std::int64_t k = 0; k < chosen.count; ++k) {
        const std::int64_t index = chosen.anchor_indices[k];
        if (index < 0 || index >= end) {
            return Status::invalid_argument("anchor_indices[" + std::to_string(image) + "][" + std::to_string(k) +
                                            "] is " + std::to_string(index) + "; give anchors from 0 to " +
                                            std::to_string(end - 1));
        }
        Place place;
        while (index >= grids[place.level].first_anchor + grids[place.level].anchor_count) ++place.level;
        const Grid& grid = grids[place.level];
        place.anchor = index - grid.first_anchor;
        place.column = static_cast<float>(place.anchor % grid.columns);
        place.row = static_cast<float>(place.anchor / grid.columns);
        place.stride = grid.stride;
        places->push_back(place);
    }
    return Status();
}

/// The way of points from the network's values back to one image.
struct WayBack {
    AxisBack x;
    AxisBack y;
    KeypointParams params;

    /// values: `params.dimensions` of the network's; point: kValuesOfPoint, zeros.
    void write(const Place& place, const float* values, float* point) const {
        const float image_x = position_in_image(x, (2.0f * values[0] + place.column) * place.stride);
        const float image_y = position_in_image(y, (2.0f * values[1] + place.row) * place.stride);
        float confidence = params.dimensions == 3 ? sigmoid(values[2]) : 1.0f;
        if (std::isnan(confidence)) confidence = 0.0f;
        if (!is_finite(image_x) || !is_finite(image_y) || confidence < params.confidence) return;
        point[0] = settled(x, image_x);
        point[1] = settled(y, image_y);
        point[2] = confidence;
    }

    /// Adding 0 makes 0 of -0, which would be seen in JSON.
    float settled(const AxisBack& axis, float position) const {
        const bool whole_pixels = params.convention == BoxConvention::kV2;
        return (whole_pixels ? std::nearbyint(position) : clamped_to_image(axis, position)) + 0.0f;
    }
};

/// value_of(k, channel) is a value of the k-th place.
template <typename ValueOf>
Keypoints points_of(const std::vector<Place>& places, std::int64_t channels, const ImageTarget& image,
                    const KeypointParams& params, ValueOf value_of) {
    const WayBack way{x_axis_back(image), y_axis_back(image), params};
    Keypoints result;
    result.keypoint_count = channels / params.dimensions;
    result.points.resize(places.size() * static_cast<std::size_t>(result.keypoint_count * kValuesOfPoint), 0.0f);
    float* point = result.points.data();
    for (std::size_t k = 0; k < places.size(); ++k) {
        for (std::int64_t channel = 0; channel < channels; channel += params.dimensions) {
            float values[kValuesOfPoint] = {};
            for (std::int64_t i = 0; i < params.dimensions; ++i) values[i] = value_of(k, channel + i);
            way.write(places[k], values, point);
            point += kValuesOfPoint;
        }
    }
    return result;
}

/// Reads view [m, K * D], m at least `count`, as channels x rows.
Status read_rows(const TensorView& view, std::int64_t count, std::int64_t image, const KeypointParams& params,
                 Plane* plane) {
    const std::string name = "rows[" + std::to_string(image) + "]";
    if (view.rank != 2 || view.shape[0] < count || !holds_points(view.shape[1], params)) {
        return Status::invalid_argument(name + " has shape " + shape_of(view) + "; give [" + std::to_string(count) +
                                        " or more anchors, keypoints * " + std::to_string(params.dimensions) + "]");
    }
    if (count == 0) return Status();
    TensorView turned = view;
    turned.rank = 3;
    turned.shape = {1, view.shape[1], count};
    turned.strides = {0, view.strides[1], view.strides[0]};
    return as_plane(turned, name, plane);
}

}  // namespace

Status keypoints_from_heads(const KeypointLevel* levels, std::int64_t level_count, const ChosenAnchors* chosen,
                            const ImageTarget* images, std::int64_t image_count, const KeypointParams& params,
                            std::vector<Keypoints>* results) {
    return guarded(kNoMemory, [&]() -> Status {
        KeypointHeads heads;
        Status status = check_params(params);
        if (status.ok()) status = read_levels(levels, level_count, params, as_plane, &heads);
        if (status.ok()) status = check_images(images, image_count, levels[0].keypoints.shape[0]);
        if (!status.ok()) return status;
        const std::int64_t channels = levels[0].keypoints.shape[1];
        std::vector<Keypoints> found;
        for (std::int64_t image = 0; image < image_count; ++image) {
            std::vector<Place> places;
            status = find_places(chosen[image], heads.grids, image, &places);
            if (!status.ok()) return status;
            found.push_back(
                points_of(places, channels, images[image], params, [&](std::size_t k, std::int64_t channel) {
                    return heads.planes[places[k].level].value(image, channel, places[k].anchor);
                }));
        }
        *results = std::move(found);
        return Status();
    });
}

Status keypoints_from_rows(const AnchorGrid* grids, std::int64_t grid_count, const TensorView* rows,
                           const ChosenAnchors* chosen, const ImageTarget* images, std::int64_t image_count,
                           const KeypointParams& params, std::vector<Keypoints>* results) {
    return guarded(kNoMemory, [&]() -> Status {
        std::vector<Grid> levels;
        Status status = check_params(params);
        if (status.ok()) status = read_grids(grids, grid_count, &levels);
        if (status.ok()) status = check_images(images, image_count, image_count);
        if (!status.ok()) return status;
        std::vector<Keypoints> found;
        for (std::int64_t image = 0; image < image_count; ++image) {
            Plane plane;
            std::vector<Place> places;
            status = read_rows(rows[image], chosen[image].count, image, params, &plane);
            if (status.ok()) status = find_places(chosen[image], levels, image, &places);
            if (!status.ok()) return status;
            found.push_back(points_of(places, rows[image].shape[1], images[image], params,
                                      [&](std::size_t k, std::int64_t channel) {
                                          return plane.value(0, channel, static_cast<std::int64_t>(k));
                                      }));
        }
        *results = std::move(found);
        return Status();
    });
}

}  // namespace rfkernels
