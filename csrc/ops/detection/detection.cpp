#include "rfkernels/detection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "checks.h"
#include "decoded_candidates.h"
#include "detection_arithmetic.h"
#include "device/anchors.h"
#include "device/guarded.h"
#include "device/image_targets.h"
#include "device/planes.h"
#include "heads.h"
#include "suppression.h"

namespace rfkernels {
namespace {

constexpr int kBoxesPerDecode = kBinColumns / kSides;

/// A box with a NaN or an infinity is no candidate's.
void add_if_finite(const Box& box, float score, std::int32_t class_id, std::int64_t anchor,
                   DecodedCandidates* candidates) {
    if (is_finite(box)) candidates->add(box.x1, box.y1, box.x2, box.y2, score, class_id, anchor);
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

/// A scale's candidates: a stretch of an image's.
struct Stretch {
    const std::int32_t* anchors = nullptr;  ///< [count] among those of all scales
    const float* scores = nullptr;
    const std::int32_t* class_ids = nullptr;
    std::int64_t count = 0;
};

/// Decodes the boxes of a scale's candidates, kBoxesPerDecode at a time, and adds them.
///
/// value_of(k, anchor, channel) is a bin of the k-th, which is this anchor of the scale. bins [reg_max][kBinColumns].
template <typename ValueOf>
void decode(const DetectionKernels& kernels, const Grid& grid, const Stretch& chosen, std::int64_t reg_max,
            ValueOf value_of, std::vector<float>* bins, DecodedCandidates* candidates) {
    for (std::int64_t first = 0; first < chosen.count; first += kBoxesPerDecode) {
        const int count = static_cast<int>(std::min<std::int64_t>(kBoxesPerDecode, chosen.count - first));
        float distances[kBinColumns];
        for (int i = 0; i < count; ++i) {
            const std::int64_t anchor = chosen.anchors[first + i] - grid.first_anchor;
            for (int side = 0; side < kSides; ++side) {
                for (std::int64_t bin = 0; bin < reg_max; ++bin) {
                    (*bins)[bin * kBinColumns + i * kSides + side] = value_of(first + i, anchor, side * reg_max + bin);
                }
            }
        }
        if (reg_max == 1) {
            std::copy(bins->begin(), bins->begin() + kBinColumns, distances);
        } else {
            kernels.expected_bins(bins->data(), reg_max, distances);
        }
        for (int i = 0; i < count; ++i) {
            const std::int64_t anchor = chosen.anchors[first + i] - grid.first_anchor;
            const Box box = box_from_distances(distances + i * kSides, static_cast<float>(anchor % grid.columns) + 0.5f,
                                               static_cast<float>(anchor / grid.columns) + 0.5f, grid.stride);
            add_if_finite(box, chosen.scores[first + i], chosen.class_ids[first + i], chosen.anchors[first + i],
                          candidates);
        }
    }
}

/// The candidates of one image at one scale, added to those of the scales before it.
void select_level(const DetectionKernels& kernels, const Plane& classes, std::int64_t image, std::int64_t class_count,
                  const Grid& grid, const DetectionParams& params, Candidates* candidates) {
    const ClassValues values{classes.at(image, 0), classes.dtype, classes.channel_step, classes.anchor_step,
                             class_count};
    const std::size_t before = candidates->scores.size();
    for_each_selection(kernels, values, grid.anchor_count, logit_gate(lowest_confidence(params)), true, params,
                       [&](const SelectedAnchors& selected) {
                           for (int i = 0; i < selected.count; ++i) {
                               const std::int64_t anchor = grid.first_anchor + selected.anchors[i];
                               candidates->anchor_indices.push_back(static_cast<std::int32_t>(anchor));
                           }
                           candidates->scores.insert(candidates->scores.end(), selected.values,
                                                     selected.values + selected.count);
                           candidates->class_ids.insert(candidates->class_ids.end(), selected.classes,
                                                        selected.classes + selected.count);
                       });
    candidates->level_counts.push_back(static_cast<std::int64_t>(candidates->scores.size() - before));
}

constexpr char kTooManyCandidates[] = "detection: not enough memory for the candidates; raise the confidence";
constexpr char kNoMemory[] = "detection: not enough memory for the boxes of the candidates";

/// One image's candidates and the bins of their boxes, checked.
struct ReadCandidates {
    std::vector<Stretch> stretches;  ///< [grid count]
    std::vector<Plane> bins;         ///< [grid count] channels x candidates
    std::vector<std::int64_t> reg_max;
};

Status read_candidates(const CandidateBoxes& given, const std::vector<Grid>& grids, std::int64_t image,
                       ReadCandidates* read) {
    const std::string name = "candidates[" + std::to_string(image) + "]";
    std::int64_t next = 0;
    for (std::size_t level = 0; level < grids.size(); ++level) {
        const Grid& grid = grids[level];
        const std::int64_t first = next;
        const std::int64_t end = grid.first_anchor + grid.anchor_count;
        for (; next < given.count && given.anchor_indices[next] < end; ++next) {
            const std::int64_t lowest = next == 0 ? 0 : std::int64_t{given.anchor_indices[next - 1]} + 1;
            if (given.anchor_indices[next] < lowest) {
                return Status::invalid_argument(name + " anchor_indices[" + std::to_string(next) + "] is " +
                                                std::to_string(given.anchor_indices[next]) +
                                                "; give anchors of the grids in ascending order");
            }
            if (std::isnan(given.scores[next])) {
                return Status::invalid_argument(name + " scores[" + std::to_string(next) + "] is nan");
            }
        }
        const std::int64_t count = next - first;
        const TensorView& view = given.boxes[level];
        const std::string box_name = "boxes[" + std::to_string(image) + "][" + std::to_string(level) + "]";
        if (view.rank != 2 || view.shape[0] < count || view.shape[1] < kSides || view.shape[1] % kSides != 0 ||
            view.shape[1] > std::numeric_limits<std::int32_t>::max()) {
            return Status::invalid_argument(box_name + " has shape " + shape_of(view) + "; give [" +
                                            std::to_string(count) + " or more candidates, 4 * reg_max]");
        }
        Plane bins;
        if (count > 0) {
            TensorView turned = view;
            turned.rank = 3;
            turned.shape = {1, view.shape[1], count};
            turned.strides = {0, view.strides[1], view.strides[0]};
            Status status = as_plane(turned, box_name, &bins);
            if (!status.ok()) return status;
        }
        read->bins.push_back(bins);
        read->reg_max.push_back(view.shape[1] / kSides);
        read->stretches.push_back(
            Stretch{given.anchor_indices + first, given.scores + first, given.class_ids + first, count});
    }
    if (next < given.count) {
        return Status::invalid_argument(name + " anchor_indices[" + std::to_string(next) + "] is " +
                                        std::to_string(given.anchor_indices[next]) + "; the grids end before it");
    }
    return Status();
}

}  // namespace

Status select_candidates(const TensorView* classes, std::int64_t level_count, const DetectionParams& params,
                         std::vector<Candidates>* results) {
    return guarded(kTooManyCandidates, [&]() -> Status {
        if (level_count < 1) return Status::invalid_argument("classes is empty; give the logits of at least one level");
        std::vector<Plane> planes;
        std::vector<Grid> grids;
        std::int64_t anchor_count = 0;
        for (std::int64_t i = 0; i < level_count; ++i) {
            const std::string name = "classes[" + std::to_string(i) + "]";
            if (classes[i].rank != 4) {
                return Status::invalid_argument(name + " has shape " + shape_of(classes[i]) +
                                                "; give [N, class_count, H, W]");
            }
            Plane plane;
            Grid grid;
            Status status = as_plane(classes[i], name, &plane);
            if (status.ok()) {
                status = read_grid(classes[i].shape[2], classes[i].shape[3], 1, name, &anchor_count, &grid);
            }
            if (!status.ok()) return status;
            if (classes[i].shape[0] != classes[0].shape[0] || classes[i].shape[1] != classes[0].shape[1]) {
                return Status::invalid_argument(name + " has shape " + shape_of(classes[i]) + ", classes[0] has " +
                                                shape_of(classes[0]) + "; batch size and classes must be equal");
            }
            planes.push_back(plane);
            grids.push_back(grid);
        }
        const std::int64_t class_count = classes[0].shape[1];
        Status status = check_thresholds(params, class_count);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;
        std::vector<Candidates> found(static_cast<std::size_t>(classes[0].shape[0]));
        for (std::size_t image = 0; image < found.size(); ++image) {
            for (std::size_t level = 0; level < grids.size(); ++level) {
                select_level(kernels, planes[level], static_cast<std::int64_t>(image), class_count, grids[level],
                             params, &found[image]);
            }
        }
        *results = std::move(found);
        return Status();
    });
}

Status detect_from_candidates(const AnchorGrid* grids, std::int64_t grid_count, const CandidateBoxes* candidates,
                              const ImageTarget* images, std::int64_t image_count, const DetectionParams& params,
                              std::vector<Detections>* results) {
    return guarded(kNoMemory, [&]() -> Status {
        std::vector<Grid> levels;
        Status status = read_grids(grids, grid_count, &levels);
        if (status.ok()) status = check(params.suppression);
        if (status.ok()) status = check_images(images, image_count, image_count);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;

        std::vector<float> bins;
        std::vector<Detections> found;
        DecodedCandidates decoded;
        for (std::int64_t image = 0; image < image_count; ++image) {
            decoded.clear();
            ReadCandidates read;
            status = read_candidates(candidates[image], levels, image, &read);
            if (!status.ok()) return status;
            for (std::size_t level = 0; level < levels.size(); ++level) {
                if (read.stretches[level].count == 0) continue;
                const Plane& plane = read.bins[level];
                bins.resize(static_cast<std::size_t>(read.reg_max[level] * kBinColumns), 0.0f);
                decode(
                    kernels, levels[level], read.stretches[level], read.reg_max[level],
                    [&](std::int64_t k, std::int64_t, std::int64_t channel) { return plane.value(0, channel, k); },
                    &bins, &decoded);
            }
            found.push_back(finish(kernels, decoded, images[image], params));
        }
        *results = std::move(found);
        return Status();
    });
}

Status detect_from_heads(const HeadLevel* levels, std::int64_t level_count, const ImageTarget* images,
                         std::int64_t image_count, const DetectionParams& params, std::vector<Detections>* results) {
    return guarded(kTooManyCandidates, [&]() -> Status {
        Heads heads;
        Status status = read_levels(levels, level_count, as_plane, &heads);
        if (status.ok()) status = check(params.suppression);
        if (status.ok()) status = check_thresholds(params, heads.class_count);
        if (status.ok()) status = check_images(images, image_count, heads.batch_size);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;

        std::vector<float> bins(static_cast<std::size_t>(heads.reg_max * kBinColumns), 0.0f);
        std::vector<Detections> found;
        DecodedCandidates decoded;
        for (std::int64_t image = 0; image < image_count; ++image) {
            decoded.clear();
            for (const Level& level : heads.levels) {
                Candidates chosen;
                select_level(kernels, level.classes, image, heads.class_count, level.grid, params, &chosen);
                const Stretch stretch{chosen.anchor_indices.data(), chosen.scores.data(), chosen.class_ids.data(),
                                      chosen.level_counts.back()};
                decode(
                    kernels, level.grid, stretch, heads.reg_max,
                    [&](std::int64_t, std::int64_t anchor, std::int64_t channel) {
                        return level.box.value(image, channel, anchor);
                    },
                    &bins, &decoded);
            }
            found.push_back(finish(kernels, decoded, images[image], params));
        }
        *results = std::move(found);
        return Status();
    });
}

Status detect_from_decoded(const TensorView& prediction, const ImageTarget* images, std::int64_t image_count,
                           const DetectionParams& params, std::vector<Detections>* results) {
    return guarded(kTooManyCandidates, [&]() -> Status {
        Plane plane;
        Status status = read_prediction(prediction, as_plane, &plane);
        const std::int64_t class_count = prediction.shape[1] - kSides;
        const std::int64_t anchor_count = prediction.shape[2];
        if (status.ok()) status = check(params.suppression);
        if (status.ok()) status = check_thresholds(params, class_count);
        if (status.ok()) status = check_images(images, image_count, prediction.shape[0]);
        DetectionKernels kernels;
        if (status.ok()) status = detection_kernels(&kernels);
        if (!status.ok()) return status;

        const float gate = lowest_confidence(params);
        std::vector<Detections> found;
        DecodedCandidates candidates;
        for (std::int64_t image = 0; image < image_count; ++image) {
            candidates.clear();
            const ClassValues values{plane.at(image, kSides), plane.dtype, plane.channel_step, plane.anchor_step,
                                     class_count};
            for_each_selection(
                kernels, values, anchor_count, gate, false, params, [&](const SelectedAnchors& selected) {
                    for (int i = 0; i < selected.count; ++i) {
                        const auto row = [&](int index) { return plane.value(image, index, selected.anchors[i]); };
                        const Box box = box_from_centre(row(0), row(1), row(2), row(3));
                        add_if_finite(box, selected.values[i], selected.classes[i], selected.anchors[i], &candidates);
                    }
                });
            found.push_back(finish(kernels, candidates, images[image], params));
        }
        *results = std::move(found);
        return Status();
    });
}

}  // namespace rfkernels
