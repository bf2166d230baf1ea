#include "rfkernels/detection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "detection_arithmetic.h"
#include "suppression.h"

namespace rfkernels {
namespace {

constexpr int kSides = 4;
constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max();
constexpr int kBoxesPerDecode = kBinColumns / kSides;

std::string shape_of(const TensorView& view) {
    std::string text = "[";
    for (int axis = 0; axis < std::min(view.rank, kMaxRank); ++axis)
        text += (axis == 0 ? "" : ", ") + std::to_string(view.shape[axis]);
    return text + "]";
}

/// One image's values as channels x anchors, steps in elements. One of the steps is 1.
struct Plane {
    const void* data = nullptr;
    DataType dtype = DataType::kFloat32;
    std::int64_t channel_step = 0;
    std::int64_t anchor_step = 0;
    std::int64_t image_step = 0;

    std::int64_t element_size() const { return dtype == DataType::kBfloat16 ? 2 : 4; }

    const void* at(std::int64_t image, std::int64_t channel) const {
        return static_cast<const unsigned char*>(data) + (image * image_step + channel * channel_step) * element_size();
    }

    float value(std::int64_t image, std::int64_t channel, std::int64_t anchor) const {
        const std::int64_t element = image * image_step + channel * channel_step + anchor * anchor_step;
        return dtype == DataType::kBfloat16 ? from_bfloat16(static_cast<const std::uint16_t*>(data)[element])
                                            : static_cast<const float*>(data)[element];
    }
};

// The stride of an axis of one element is never used, and NumPy may put anything there.
bool steps_by(const TensorView& view, int axis, std::int64_t bytes) {
    return view.shape[axis] == 1 || view.strides[axis] == bytes;
}

/// Reads view [N, channels, rows.., columns] as channels x anchors, the anchors being all axes from 2 on.
Status as_plane(const TensorView& view, const std::string& name, Plane* plane) {
    if (view.dtype != DataType::kFloat32 && view.dtype != DataType::kBfloat16) {
        return Status::invalid_argument(name + " is neither float32 nor bfloat16; convert it first");
    }
    plane->dtype = view.dtype;
    const std::int64_t element = plane->element_size();
    if (view.data == nullptr) return Status::invalid_argument(name + " has no data");
    bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::uintptr_t>(element) == 0;
    for (int axis = 0; axis < view.rank; ++axis) {
        if (view.shape[axis] < 1) {
            return Status::invalid_argument(name + " has shape " + shape_of(view) + "; no axis may be empty");
        }
        if (view.shape[axis] > std::numeric_limits<std::int32_t>::max()) {  // also keeps products of two in 64 bits
            return Status::invalid_argument(name + " has shape " + shape_of(view) +
                                            "; no axis may be longer than 2147483647");
        }
        aligned = aligned && (view.shape[axis] == 1 || view.strides[axis] % element == 0);
    }
    if (!aligned) return Status::invalid_argument(name + " is not aligned to its elements; copy it");

    const int last = view.rank - 1;
    const bool has_rows = view.rank == 4;
    const std::int64_t columns = view.shape[last];
    const std::int64_t rows = has_rows ? view.shape[2] : 1;
    plane->data = view.data;
    plane->image_step = view.shape[0] == 1 ? 0 : view.strides[0] / element;
    if (steps_by(view, last, element) && (!has_rows || steps_by(view, 2, columns * element))) {
        plane->anchor_step = 1;
        plane->channel_step = view.shape[1] == 1 ? 0 : view.strides[1] / element;
        return Status();
    }
    // From here on there is more than one anchor, or the layout above would have held.
    const std::int64_t pitch = columns > 1 ? view.strides[last] : view.strides[2];
    const bool rows_follow = !has_rows || rows == 1 || view.strides[2] == columns * pitch;
    if (steps_by(view, 1, element) && rows_follow) {
        plane->channel_step = 1;
        plane->anchor_step = pitch / element;
        return Status();
    }
    return Status::invalid_argument(name + " " + shape_of(view) +
                                    " lies in memory neither channel by channel nor anchor by anchor; copy it with "
                                    "numpy.ascontiguousarray");
}

Status check(const DetectionParams& params, const ImageTarget* images, std::int64_t image_count,
             std::int64_t batch_size, std::int64_t class_count) {
    Status status = check(params.suppression);
    if (!status.ok()) return status;
    if (!(params.confidence >= 0.0f && params.confidence <= 1.0f)) {
        return Status::invalid_argument("confidence is " + std::to_string(params.confidence) +
                                        "; give a number from 0 to 1");
    }
    if (params.class_confidences != nullptr) {
        if (params.class_confidence_count != class_count) {
            return Status::invalid_argument("class_confidences has " + std::to_string(params.class_confidence_count) +
                                            " entries; give one for each of the " + std::to_string(class_count) +
                                            " classes");
        }
        for (std::int64_t i = 0; i < class_count; ++i) {
            if (!(params.class_confidences[i] >= 0.0f && params.class_confidences[i] <= 1.0f)) {
                return Status::invalid_argument("class_confidences[" + std::to_string(i) + "] is " +
                                                std::to_string(params.class_confidences[i]) +
                                                "; give a number from 0 to 1");
            }
        }
    }
    if (params.wanted_classes != nullptr && params.wanted_class_count != class_count) {
        return Status::invalid_argument("wanted_classes has " + std::to_string(params.wanted_class_count) +
                                        " entries; give one for each of the " + std::to_string(class_count) +
                                        " classes");
    }
    if (image_count != batch_size) {
        return Status::invalid_argument("placements has " + std::to_string(image_count) + " entries for a batch of " +
                                        std::to_string(batch_size) + " images; give one for each image");
    }
    for (std::int64_t i = 0; i < image_count; ++i) {
        const Placement& placement = images[i].placement;
        // Boxes are divided by the scales in float32, where a smaller or greater number would be 0 or infinity.
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
    return status;
}

/// The candidates of one image, by ascending anchor.
struct Candidates {
    std::vector<float> boxes;
    std::vector<float> scores;
    std::vector<std::int32_t> class_ids;
    std::vector<std::int32_t> anchors;

    void clear() {
        boxes.clear();
        scores.clear();
        class_ids.clear();
        anchors.clear();
    }

    void add_if_finite(const Box& box, float score, std::int32_t class_id, std::int64_t anchor) {
        if (!is_finite(box)) return;
        boxes.insert(boxes.end(), {box.x1, box.y1, box.x2, box.y2});
        scores.push_back(score);
        class_ids.push_back(class_id);
        anchors.push_back(static_cast<std::int32_t>(anchor));
    }
};

bool is_wanted(const DetectionParams& params, std::int32_t class_id) {
    return params.wanted_classes == nullptr || params.wanted_classes[class_id] != 0;
}

/// Keeps of what passed the gate that whose score (a logit's sigmoid where `is_logit`) is really above the threshold
/// of its class.
void apply_thresholds(const DetectionParams& params, bool is_logit, SelectedAnchors* selected) {
    int count = 0;
    for (int i = 0; i < selected->count; ++i) {
        const std::int32_t class_id = selected->classes[i];
        const float score = is_logit ? sigmoid(selected->values[i]) : selected->values[i];
        const float threshold =
            params.class_confidences == nullptr ? params.confidence : params.class_confidences[class_id];
        if (!(score > threshold)) continue;
        if (params.class_filter_stage == ClassFilterStage::kBeforeSuppression && !is_wanted(params, class_id)) continue;
        selected->anchors[count] = selected->anchors[i];
        selected->classes[count] = class_id;
        selected->values[count] = score;
        ++count;
    }
    selected->count = count;
}

float lowest_confidence(const DetectionParams& params) {
    if (params.class_confidences == nullptr) return params.confidence;
    return *std::min_element(params.class_confidences, params.class_confidences + params.class_confidence_count);
}

/// A logit whose sigmoid is above the confidence is above this. Lower than log(t / (1 - t)) by more than sigmoid's
/// rounding, so that the exact test, on the few that pass, decides.
float logit_gate(float confidence) {
    const double relaxed = static_cast<double>(confidence) * (1.0 - 2e-6);
    const float gate = static_cast<float>(std::log(relaxed / (1.0 - relaxed)));  // -infinity for 0
    return gate - std::fabs(gate) * 2e-6f - 1e-12f;
}

float map_back(float network, double pad, double scale, double crop_offset, std::int64_t size,
               BoxConvention convention) {
    float position = (network - static_cast<float>(pad)) / static_cast<float>(scale) + static_cast<float>(crop_offset);
    position = std::min(std::max(position, 0.0f), static_cast<float>(size));
    return convention == BoxConvention::kV2 ? std::nearbyint(position) : position;
}

Detections finish(const DetectionKernels& kernels, const Candidates& candidates, const ImageTarget& image,
                  const DetectionParams& params) {
    const Kept kept = suppress(kernels, candidates.boxes.data(), candidates.scores.data(), candidates.class_ids.data(),
                               static_cast<std::int64_t>(candidates.scores.size()), params.suppression);
    Detections result;
    result.overflowed = kept.overflowed;
    result.boxes.reserve(4 * kept.indices.size());
    result.network_boxes.reserve(4 * kept.indices.size());
    result.scores.reserve(kept.indices.size());
    result.class_ids.reserve(kept.indices.size());
    result.anchor_indices.reserve(kept.indices.size());
    const Placement& placement = image.placement;
    const double pads[2] = {static_cast<double>(placement.left), static_cast<double>(placement.top)};
    const double scales[2] = {placement.scale_x, placement.scale_y};
    const double crops[2] = {static_cast<double>(placement.crop.x), static_cast<double>(placement.crop.y)};
    const std::int64_t sizes[2] = {image.image_width, image.image_height};
    for (const std::int32_t index : kept.indices) {
        if (!is_wanted(params, candidates.class_ids[index])) continue;
        for (int coordinate = 0; coordinate < 4; ++coordinate) {
            const float network = candidates.boxes[4 * static_cast<std::size_t>(index) + coordinate];
            const int axis = coordinate % 2;
            result.network_boxes.push_back(network);
            result.boxes.push_back(
                map_back(network, pads[axis], scales[axis], crops[axis], sizes[axis], params.box_convention));
        }
        result.scores.push_back(candidates.scores[index]);
        result.class_ids.push_back(candidates.class_ids[index]);
        result.anchor_indices.push_back(candidates.anchors[index]);
    }
    return result;
}

struct Level {
    Plane box;
    Plane classes;
    std::int64_t columns = 0;
    std::int64_t anchor_count = 0;
    std::int64_t first_anchor = 0;
    float stride = 0.0f;
};

struct Heads {
    std::vector<Level> levels;
    std::int64_t batch_size = 0;
    std::int64_t class_count = 0;
    std::int64_t reg_max = 0;
};

Status read_levels(const HeadLevel* levels, std::int64_t level_count, Heads* heads) {
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
        Status status = as_plane(given.box, name + " box", &level.box);
        if (status.ok()) status = as_plane(given.classes, name + " classes", &level.classes);
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
        if (given.stride < 1) {
            return Status::invalid_argument("strides[" + std::to_string(i) + "] is " + std::to_string(given.stride) +
                                            "; give at least 1");
        }
        level.columns = class_shape[3];
        level.anchor_count = class_shape[2] * class_shape[3];
        level.first_anchor = anchor_count;
        level.stride = static_cast<float>(given.stride);
        anchor_count += level.anchor_count;
        if (anchor_count > std::numeric_limits<std::int32_t>::max()) {
            return Status::invalid_argument("heads have more than 2147483647 anchors");
        }
        heads->levels.push_back(level);
    }
    return Status();
}

/// Decodes the boxes of what is selected, kBoxesPerDecode at a time, and adds them. bins [reg_max][kBinColumns].
void decode(const DetectionKernels& kernels, const Level& level, std::int64_t image, std::int64_t reg_max,
            const SelectedAnchors& selected, std::vector<float>* bins, Candidates* candidates) {
    for (int first = 0; first < selected.count; first += kBoxesPerDecode) {
        const int count = std::min(kBoxesPerDecode, selected.count - first);
        float distances[kBinColumns];
        for (int i = 0; i < count; ++i) {
            const std::int64_t anchor = selected.anchors[first + i];
            for (int side = 0; side < kSides; ++side) {
                for (std::int64_t bin = 0; bin < reg_max; ++bin) {
                    (*bins)[bin * kBinColumns + i * kSides + side] =
                        level.box.value(image, side * reg_max + bin, anchor);
                }
            }
        }
        if (reg_max == 1) {
            std::copy(bins->begin(), bins->begin() + kBinColumns, distances);
        } else {
            kernels.expected_bins(bins->data(), reg_max, distances);
        }
        for (int i = 0; i < count; ++i) {
            const std::int64_t anchor = selected.anchors[first + i];
            const Box box =
                box_from_distances(distances + i * kSides, static_cast<float>(anchor % level.columns) + 0.5f,
                                   static_cast<float>(anchor / level.columns) + 0.5f, level.stride);
            candidates->add_if_finite(box, selected.values[first + i], selected.classes[first + i],
                                      level.first_anchor + anchor);
        }
    }
}

/// Calls take(selected) for the candidates of every kMaxAnchorsPerCall anchors, in ascending order.
template <typename Take>
void for_each_selection(const DetectionKernels& kernels, const ClassValues& values, std::int64_t anchor_count,
                        float gate, bool is_logit, const DetectionParams& params, Take take) {
    SelectedAnchors selected;
    for (std::int64_t first = 0; first < anchor_count; first += kMaxAnchorsPerCall) {
        const int count = static_cast<int>(std::min<std::int64_t>(kMaxAnchorsPerCall, anchor_count - first));
        kernels.select_candidates(values, first, count, gate, &selected);
        apply_thresholds(params, is_logit, &selected);
        if (selected.count > 0) take(selected);
    }
}

}  // namespace

Status detect_from_heads(const HeadLevel* levels, std::int64_t level_count, const ImageTarget* images,
                         std::int64_t image_count, const DetectionParams& params, std::vector<Detections>* results) {
    try {
        Heads heads;
        Status status = read_levels(levels, level_count, &heads);
        if (status.ok()) status = check(params, images, image_count, heads.batch_size, heads.class_count);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;

        const float gate = logit_gate(lowest_confidence(params));
        std::vector<float> bins(static_cast<std::size_t>(heads.reg_max * kBinColumns), 0.0f);
        std::vector<Detections> found;
        Candidates candidates;
        for (std::int64_t image = 0; image < image_count; ++image) {
            candidates.clear();
            for (const Level& level : heads.levels) {
                const ClassValues values{level.classes.at(image, 0), level.classes.dtype, level.classes.channel_step,
                                         level.classes.anchor_step, heads.class_count};
                for_each_selection(kernels, values, level.anchor_count, gate, true, params,
                                   [&](const SelectedAnchors& selected) {
                                       decode(kernels, level, image, heads.reg_max, selected, &bins, &candidates);
                                   });
            }
            found.push_back(finish(kernels, candidates, images[image], params));
        }
        *results = std::move(found);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory("detection: not enough memory for the candidates; raise the confidence");
    }
    return Status();
}

Status detect_from_decoded(const TensorView& prediction, const ImageTarget* images, std::int64_t image_count,
                           const DetectionParams& params, std::vector<Detections>* results) {
    try {
        if (prediction.rank != 3 || prediction.shape[1] <= kSides) {
            return Status::invalid_argument("prediction has shape " + shape_of(prediction) +
                                            "; give [N, 4 + class_count, A]");
        }
        Plane plane;
        Status status = as_plane(prediction, "prediction", &plane);
        const std::int64_t class_count = prediction.shape[1] - kSides;
        const std::int64_t anchor_count = prediction.shape[2];
        if (status.ok() && anchor_count > std::numeric_limits<std::int32_t>::max()) {
            status = Status::invalid_argument("prediction has more than 2147483647 anchors");
        }
        if (status.ok()) status = check(params, images, image_count, prediction.shape[0], class_count);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;

        const float gate = lowest_confidence(params);
        std::vector<Detections> found;
        Candidates candidates;
        for (std::int64_t image = 0; image < image_count; ++image) {
            candidates.clear();
            const ClassValues values{plane.at(image, kSides), plane.dtype, plane.channel_step, plane.anchor_step,
                                     class_count};
            for_each_selection(
                kernels, values, anchor_count, gate, false, params, [&](const SelectedAnchors& selected) {
                    for (int i = 0; i < selected.count; ++i) {
                        const auto row = [&](int index) { return plane.value(image, index, selected.anchors[i]); };
                        const Box box = box_from_centre(row(0), row(1), row(2), row(3));
                        candidates.add_if_finite(box, selected.values[i], selected.classes[i], selected.anchors[i]);
                    }
                });
            found.push_back(finish(kernels, candidates, images[image], params));
        }
        *results = std::move(found);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory("detection: not enough memory for the candidates; raise the confidence");
    }
    return Status();
}

}  // namespace rfkernels
