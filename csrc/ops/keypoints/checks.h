#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/anchors.h"
#include "device/planes.h"
#include "rfkernels/keypoints.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// Anchors chosen, and channels: keeps the number of results in 64 bits.
constexpr std::int64_t kMostKeypointChannels = std::numeric_limits<std::int32_t>::max();

Status check_params(const KeypointParams& params);

bool holds_points(std::int64_t channels, const KeypointParams& params);

/// The levels of a head.
struct KeypointHeads {
    std::vector<Plane> planes;
    std::vector<Grid> grids;
};

/// `read_plane` says which elements may be there: as_plane or as_device_plane. Of the params the dimensions count.
Status read_levels(const KeypointLevel* levels, std::int64_t level_count, const KeypointParams& params,
                   Status (*read_plane)(const TensorView& view, const std::string& name, Plane* plane),
                   KeypointHeads* heads);

}  // namespace rfkernels
