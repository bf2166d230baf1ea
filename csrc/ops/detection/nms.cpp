#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <string>

#include "detection_arithmetic.h"
#include "device/guarded.h"
#include "rfkernels/instruction_set.h"
#include "suppression.h"

namespace rfkernels {
namespace {

// Below this a comparison sort is faster than three passes over a table of 2,048 counts.
constexpr std::int64_t kRadixSortFrom = 256;
constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;

struct KeyedIndex {
    std::uint32_t key;
    std::int32_t index;
};

// Indices by descending score, equal scores by ascending index: least significant digit first, every pass stable.
std::vector<std::int32_t> order_by_score(const float* scores, std::int64_t count) {
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    std::unique_ptr<KeyedIndex[]> items(new KeyedIndex[static_cast<std::size_t>(count)]);
    for (std::int64_t i = 0; i < count; ++i) {
        items[i] = KeyedIndex{descending_key(scores[i]), static_cast<std::int32_t>(i)};
    }
    if (count < kRadixSortFrom) {
        std::sort(items.get(), items.get() + count, [](const KeyedIndex& a, const KeyedIndex& b) {
            return a.key != b.key ? a.key < b.key : a.index < b.index;
        });
    } else {
        std::unique_ptr<KeyedIndex[]> moved(new KeyedIndex[static_cast<std::size_t>(count)]);
        for (int shift = 0; shift < 32; shift += kDigitBits) {
            std::int32_t begin_of[kDigits + 1] = {};
            for (std::int64_t i = 0; i < count; ++i) ++begin_of[((items[i].key >> shift) & (kDigits - 1)) + 1];
            if (begin_of[((items[0].key >> shift) & (kDigits - 1)) + 1] == count) continue;  // one digit for all
            for (int digit = 0; digit < kDigits; ++digit) begin_of[digit + 1] += begin_of[digit];
            for (std::int64_t i = 0; i < count; ++i) {
                moved[begin_of[(items[i].key >> shift) & (kDigits - 1)]++] = items[i];
            }
            items.swap(moved);
        }
    }
    for (std::int64_t i = 0; i < count; ++i) order[i] = items[i].index;
    return order;
}

struct Groups {
    std::vector<std::int32_t> group_of;  // for each candidate; empty where there is one group
    std::vector<std::int64_t> sizes;
};

// Class ids, which may be any numbers, as groups counted from 0.
Groups group_by_class(const std::int32_t* class_ids, std::int64_t count) {
    Groups groups;
    if (class_ids == nullptr || count == 0) {
        groups.sizes.assign(1, count);
        return groups;
    }
    // Read once: places in memory are computed from the ids, and another thread of the caller may be writing to them.
    groups.group_of.assign(class_ids, class_ids + count);
    const auto [lowest, highest] = std::minmax_element(groups.group_of.begin(), groups.group_of.end());
    const std::int64_t first = *lowest;
    const std::int64_t range = *highest - first + 1;
    if (range <= std::min<std::int64_t>(4 * count + 1024, std::numeric_limits<std::int32_t>::max())) {
        groups.sizes.assign(static_cast<std::size_t>(range), 0);
        for (std::int32_t& group : groups.group_of) {
            group = static_cast<std::int32_t>(group - first);
            ++groups.sizes[group];
        }
        return groups;
    }
    std::vector<std::int32_t> distinct(groups.group_of);
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    groups.sizes.assign(distinct.size(), 0);
    for (std::int32_t& group : groups.group_of) {
        const auto found = std::lower_bound(distinct.begin(), distinct.end(), group);
        group = static_cast<std::int32_t>(found - distinct.begin());
        ++groups.sizes[group];
    }
    return groups;
}

}  // namespace

float greatest_float_not_above(double threshold) {
    const float rounded = static_cast<float>(threshold);
    return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, -1.0f) : rounded;
}

Status check(const SuppressionParams& params) {
    if (!(params.iou_threshold >= 0.0 && params.iou_threshold <= 1.0)) {
        return Status::invalid_argument("iou_threshold is " + std::to_string(params.iou_threshold) +
                                        "; give a number from 0 to 1");
    }
    if (params.max_detections < 0) {
        return Status::invalid_argument("max_detections is " + std::to_string(params.max_detections) +
                                        "; give at least 0");
    }
    return Status();
}

Kept suppress(const DetectionKernels& kernels, const float* boxes, const float* scores, const std::int32_t* class_ids,
              std::int64_t count, const SuppressionParams& params) {
    Kept kept;
    if (count == 0) return kept;
    const std::vector<std::int32_t> order = order_by_score(scores, count);
    const Groups groups = group_by_class(params.class_agnostic ? nullptr : class_ids, count);
    // One more than is asked for, to know whether there was more.
    const std::int64_t max_kept = params.max_detections < count ? params.max_detections + 1 : count;

    std::vector<std::int64_t> first_block(groups.sizes.size());
    std::int64_t block_count = 0;
    for (std::size_t group = 0; group < groups.sizes.size(); ++group) {
        first_block[group] = block_count;
        block_count += (std::min(groups.sizes[group], max_kept) + kBlockBoxes - 1) / kBlockBoxes;
    }
    std::vector<std::int64_t> kept_in_group(groups.sizes.size(), 0);
    // Not initialised: the kernel fills a block when it opens it, and most are never opened.
    std::unique_ptr<BoxBlock[]> blocks(new BoxBlock[static_cast<std::size_t>(block_count)]);
    kept.indices.resize(static_cast<std::size_t>(max_kept));

    Suppression suppression;
    suppression.boxes = boxes;
    suppression.order = order.data();
    suppression.groups = groups.group_of.empty() ? nullptr : groups.group_of.data();
    suppression.count = count;
    suppression.blocks = blocks.get();
    suppression.first_block = first_block.data();
    suppression.kept_in_group = kept_in_group.data();
    suppression.iou_threshold = greatest_float_not_above(params.iou_threshold);
    suppression.max_kept = max_kept;
    std::int64_t kept_count = kernels.suppress_greedily(suppression, kept.indices.data());
    if (kept_count > params.max_detections) {
        kept.overflowed = true;
        kept_count = params.max_detections;
    }
    kept.indices.resize(static_cast<std::size_t>(kept_count));
    return kept;
}

Status detection_kernels(DetectionKernels* kernels) {
    InstructionSet instruction_set = InstructionSet::kBaseline;
    Status status = active_instruction_set(&instruction_set);
    if (!status.ok()) return status;
    *kernels = {baseline::select_candidates, baseline::expected_bins, baseline::suppress_greedily};
#if defined(RFK_X86_VARIANTS)
    if (instruction_set == InstructionSet::kAvx2) {
        *kernels = {avx2::select_candidates, avx2::expected_bins, avx2::suppress_greedily};
    } else if (instruction_set == InstructionSet::kAvx512) {
        *kernels = {avx512::select_candidates, avx512::expected_bins, avx512::suppress_greedily};
    }
#endif
    return status;
}

Status nms(const float* boxes, const float* scores, const std::int32_t* class_ids, std::int64_t count,
           const SuppressionParams& params, Kept* result) {
    return guarded("nms: not enough memory for the boxes", [&]() -> Status {
        Status status = check(params);
        if (!status.ok()) return status;
        if (count < 0 || count > std::numeric_limits<std::int32_t>::max()) {
            return Status::invalid_argument("boxes has " + std::to_string(count) + " rows; give at most 2147483647");
        }
        for (std::int64_t i = 0; i < count; ++i) {
            if (std::isnan(scores[i])) {
                return Status::invalid_argument("scores[" + std::to_string(i) + "] is NaN; drop that box before nms");
            }
            for (int coordinate = 0; coordinate < 4; ++coordinate) {
                if (std::isnan(boxes[4 * i + coordinate])) {
                    return Status::invalid_argument("boxes[" + std::to_string(i) +
                                                    "] has a NaN; drop that box before nms");
                }
            }
        }
        DetectionKernels kernels;
        status = detection_kernels(&kernels);
        if (!status.ok()) return status;
        *result = suppress(kernels, boxes, scores, class_ids, count, params);
        return Status();
    });
}

}  // namespace rfkernels
