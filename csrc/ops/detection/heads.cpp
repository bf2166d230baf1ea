#include "heads.h"

#include <limits>

namespace rfkernels {

Status read_levels(const HeadLevel* levels, std::int64_t level_count, ReadPlane* read_plane, Heads* heads) {
    if (level_count < 1) return Status::invalid_argument("heads is empty; give the outputs of at least one level");
    std::int64_t anchor_count = 0;
    for (std::int64_t i = 0; i < level_count; ++i) {
        const HeadLevel& given = levels[i];
        const std::string name = "heads[" + std::to_string(i) + "]";
        if (given.box.rank != 4 || given.classes.rank != 4) {
            return Status::invalid_argument(name + " has shapes " + shape_of(given.box) + " and " +
                                            shape_of(given.classes) +
                                            "; give box [N, 4 * reg_max, H, W] and classes [N, class_count, H, W]");
        }
        Level level;
        Status status = read_plane(given.box, name + " box", &level.box);
        if (status.ok()) status = read_plane(given.classes, name + " classes", &level.classes);
        if (!status.ok()) return status;
        const auto& box_shape = given.box.shape;
        const auto& class_shape = given.classes.shape;
        if (box_shape[0] != class_shape[0] || box_shape[2] != class_shape[2] || box_shape[3] != class_shape[3] ||
            box_shape[1] % kSides != 0) {
            return Status::invalid_argument(name + " has shapes " + shape_of(given.box) + " and " +
                                            shape_of(given.classes) +
                                            "; give box [N, 4 * reg_max, H, W] and classes [N, class_count, H, W]");
        }
        if (i == 0) {
            heads->batch_size = class_shape[0];
            heads->class_count = class_shape[1];
            heads->reg_max = box_shape[1] / kSides;
        } else if (class_shape[0] != heads->batch_size || class_shape[1] != heads->class_count ||
                   box_shape[1] != heads->reg_max * kSides) {
            return Status::invalid_argument(name + " has shapes " + shape_of(given.box) + " and " +
                                            shape_of(given.classes) + ", heads[0] has " + shape_of(levels[0].box) +
                                            " and " + shape_of(levels[0].classes) +
                                            "; batch size and channels must be equal");
        }
        status = read_grid(class_shape[2], class_shape[3], given.stride, "strides[" + std::to_string(i) + "]",
                           &anchor_count, &level.grid);
        if (!status.ok()) return status;
        heads->levels.push_back(level);
    }
    return Status();
}

Status read_prediction(const TensorView& prediction, ReadPlane* read_plane, Plane* plane) {
    if (prediction.rank != 3 || prediction.shape[1] <= kSides) {
        return Status::invalid_argument("prediction has shape " + shape_of(prediction) +
                                        "; give [N, 4 + class_count, A]");
    }
    const Status status = read_plane(prediction, "prediction", plane);
    if (status.ok() && prediction.shape[2] > std::numeric_limits<std::int32_t>::max()) {
        return Status::invalid_argument("prediction has more than 2147483647 anchors");
    }
    return status;
}

}  // namespace rfkernels
