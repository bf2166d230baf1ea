#include "detection_arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

constexpr float kLowest = -__builtin_inff();

inline void append(std::int64_t anchor, std::int32_t class_id, float value, SelectedAnchors* selected) {
    selected->anchors[selected->count] = static_cast<std::int32_t>(anchor);
    selected->classes[selected->count] = class_id;
    selected->values[selected->count] = value;
    ++selected->count;
}

// The definition, for the few anchors that do not fill a vector.
void select_one(const ClassValues& values, std::int64_t anchor, float gate, SelectedAnchors* selected) {
    const float* value = values.data + anchor * values.anchor_step;
    float greatest = kLowest;
    std::int32_t class_of_greatest = 0;
    for (std::int64_t class_id = 0; class_id < values.class_count; ++class_id) {
        if (value[class_id * values.class_step] > greatest) {
            greatest = value[class_id * values.class_step];
            class_of_greatest = static_cast<std::int32_t>(class_id);
        }
    }
    if (greatest > gate) append(anchor, class_of_greatest, greatest, selected);
}

// Finds the classes of kLanes neighbouring anchors and appends those named by `passing`. Runs only where an anchor
// passes; the values are in the nearest cache then, the gate has just read them.
void append_lanes(const ClassValues& values, std::int64_t first_anchor, std::uint32_t passing,
                  SelectedAnchors* selected) {
    Floats greatest = broadcast(kLowest);
    Ints class_of_greatest{};
    const float* value = values.data + first_anchor;
    for (std::int64_t class_id = 0; class_id < values.class_count; ++class_id, value += values.class_step) {
        const Floats candidate = load(value);
        const Ints class_ids = Ints{} + static_cast<std::int32_t>(class_id);
        class_of_greatest = candidate > greatest ? class_ids : class_of_greatest;
        greatest = greater_of(candidate, greatest);
    }
    float greatest_of[kLanes];
    std::int32_t class_of[kLanes];
    store(greatest_of, greatest);
    store(class_of, class_of_greatest);
    for (; passing != 0; passing &= passing - 1) {
        const int lane = __builtin_ctz(passing);
        append(first_anchor + lane, class_of[lane], greatest_of[lane], selected);
    }
}

// Anchors contiguous: a running maximum over the classes for kVectors vectors of anchors, held in registers.
template <int kVectors>
inline std::int64_t select_strips(const ClassValues& values, std::int64_t anchor, std::int64_t end, float gate,
                                  SelectedAnchors* selected) {
    const Floats gates = broadcast(gate);
    for (; anchor + kVectors * kLanes <= end; anchor += kVectors * kLanes) {
        Floats greatest[kVectors];
        for (int vector = 0; vector < kVectors; ++vector) greatest[vector] = broadcast(kLowest);
        const float* value = values.data + anchor;
        for (std::int64_t class_id = 0; class_id < values.class_count; ++class_id, value += values.class_step) {
            for (int vector = 0; vector < kVectors; ++vector) {
                greatest[vector] = greater_of(load(value + vector * kLanes), greatest[vector]);
            }
        }
        for (int vector = 0; vector < kVectors; ++vector) {
            const std::uint32_t passing = lanes_greater(greatest[vector], gates);
            if (passing != 0) append_lanes(values, anchor + vector * kLanes, passing, selected);
        }
    }
    return anchor;
}

// Classes contiguous: no maximum is needed to see that none of them passes.
bool any_class_passes(const float* value, std::int64_t class_count, float gate) {
    const Floats gates = broadcast(gate);
    std::uint32_t passing = 0;
    std::int64_t class_id = 0;
    for (; class_id + kLanes <= class_count; class_id += kLanes)
        passing |= lanes_greater(load(value + class_id), gates);
    if (class_id == class_count) return passing != 0;
    if (class_count >= kLanes) {  // the last vector overlaps the one before it
        return (passing | lanes_greater(load(value + class_count - kLanes), gates)) != 0;
    }
    for (; class_id < class_count; ++class_id) passing |= value[class_id] > gate ? 1u : 0u;
    return passing != 0;
}

}  // namespace

void select_candidates(const ClassValues& values, std::int64_t first_anchor, int anchor_count, float gate,
                       SelectedAnchors* selected) {
    selected->count = 0;
    const std::int64_t end = first_anchor + anchor_count;
    std::int64_t anchor = first_anchor;
    if (values.anchor_step == 1) {
        anchor = select_strips<4>(values, anchor, end, gate, selected);
        anchor = select_strips<1>(values, anchor, end, gate, selected);
        for (; anchor < end; ++anchor) select_one(values, anchor, gate, selected);
        return;
    }
    for (; anchor < end; ++anchor) {
        if (any_class_passes(values.data + anchor * values.anchor_step, values.class_count, gate)) {
            select_one(values, anchor, gate, selected);
        }
    }
}

void expected_bins(float* bins, std::int64_t reg_max, float* means) {
    for (int column = 0; column < kBinColumns; column += kLanes) {
        Floats greatest = broadcast(kLowest);
        for (std::int64_t bin = 0; bin < reg_max; ++bin) {
            greatest = greater_of(load(bins + bin * kBinColumns + column), greatest);
        }
        // One sum after another from bin 0: the order is part of the result.
        Floats weight_sum{};
        Floats weighted_sum{};
        for (std::int64_t bin = 0; bin < reg_max; ++bin) {
            const Floats weight = exponential<Floats, Bits>(load(bins + bin * kBinColumns + column) - greatest);
            weight_sum = weight_sum + weight;
            weighted_sum = weighted_sum + weight * static_cast<float>(bin);
        }
        store(means + column, weighted_sum / weight_sum);
    }
}

}  // namespace RFK_VARIANT
}  // namespace rfkernels
