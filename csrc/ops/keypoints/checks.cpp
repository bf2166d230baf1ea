#include "ops/keypoints/checks.h"

namespace rfkernels {

Status check_params(const KeypointParams& params) {
    if (params.dimensions != 2 && params.dimensions != 3) {
        return Status::invalid_argument("dimensions is " + std::to_string(params.dimensions) +
                                        "; give 2 for x and y, 3 where a confidence follows them");
    }
    if (!(params.confidence >= 0.0f && params.confidence <= 1.0f)) {
        return Status::invalid_argument("keypoint_confidence is " + std::to_string(params.confidence) +
                                        "; give a number from 0 to 1");
    }
    return Status();
}

bool holds_points(std::int64_t channels, const KeypointParams& params) {
    return channels >= params.dimensions && channels % params.dimensions == 0 && channels <= kMostKeypointChannels;
}

Status read_levels(const KeypointLevel* levels, std::int64_t level_count, const KeypointParams& params,
                   Status (*read_plane)(const TensorView& view, const std::string& name, Plane* plane),
                   KeypointHeads* heads) {
    if (level_count < 1) return Status::invalid_argument("heads is empty; give the outputs of at least one level");
    std::int64_t anchor_count = 0;
    for (std::int64_t i = 0; i < level_count; ++i) {
        const TensorView& view = levels[i].keypoints;
        const std::string name = "heads[" + std::to_string(i) + "]";
        if (view.rank != 4 || !holds_points(view.shape[1], params)) {
            return Status::invalid_argument(name + " has shape " + shape_of(view) + "; give [N, keypoints * " +
                                            std::to_string(params.dimensions) + ", H, W]");
        }
        const TensorView& first = levels[0].keypoints;
        if (view.shape[0] != first.shape[0] || view.shape[1] != first.shape[1]) {
            return Status::invalid_argument(name + " has shape " + shape_of(view) + ", heads[0] has " +
                                            shape_of(first) + "; batch size and channels must be equal");
        }
        Plane plane;
        Grid grid;
        Status status = read_plane(view, name, &plane);
        if (status.ok()) {
            status = read_grid(view.shape[2], view.shape[3], levels[i].stride, "strides[" + std::to_string(i) + "]",
                               &anchor_count, &grid);
        }
        if (!status.ok()) return status;
        heads->planes.push_back(plane);
        heads->grids.push_back(grid);
    }
    return Status();
}

}  // namespace rfkernels
