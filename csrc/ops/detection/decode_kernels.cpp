#include "detection_arithmetic.h"
#include "device/lanes.h"
#include "kernels.h"

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

constexpr float kLowest = -__builtin_inff();
/// So many values of neighbouring anchors are looked at together, where an anchor has half of them at most.
constexpr std::int64_t kValuesTogether = 96;

inline void append(std::int64_t anchor, std::int32_t class_id, float value, SelectedAnchors* selected) {
    selected->anchors[selected->count] = static_cast<std::int32_t>(anchor);
    selected->classes[selected->count] = class_id;
    selected->values[selected->count] = value;
    ++selected->count;
}

/// `ClassValues` with the type of its elements.
template <typename Element>
struct Values {
    const Element* data;
    std::int64_t class_step;
    std::int64_t anchor_step;
    std::int64_t class_count;
};

// The definition, for the few anchors that do not fill a vector.
template <typename Element>
void select_one(const Values<Element>& values, std::int64_t anchor, float gate, SelectedAnchors* selected) {
    const Element* value = values.data + anchor * values.anchor_step;
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
template <typename Element>
void append_lanes(const Values<Element>& values, std::int64_t first_anchor, std::uint32_t passing,
                  SelectedAnchors* selected) {
    Floats greatest = broadcast(kLowest);
    Ints class_of_greatest{};
    const Element* value = values.data + first_anchor;
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

// Raises greatest [anchor_count], a multiple of kLanes, to the maximum over kClasses classes.
template <int kClasses, typename Element>
inline std::int64_t raise_over_classes(const Values<Element>& values, std::int64_t class_id, std::int64_t first_anchor,
                                       int anchor_count, float* greatest) {
    for (; class_id + kClasses <= values.class_count; class_id += kClasses) {
        const Element* value = values.data + class_id * values.class_step + first_anchor;
        for (int anchor = 0; anchor < anchor_count; anchor += kLanes) {
            Floats raised = load(greatest + anchor);
            for (int i = 0; i < kClasses; ++i)
                raised = greater_of(load(value + i * values.class_step + anchor), raised);
            store(greatest + anchor, raised);
        }
    }
    return class_id;
}

// Anchors contiguous. The running maximum of the call's anchors stays in the nearest cache, while 16 planes at a time
// are read in runs of 4 KB: 1.8 times as fast, from memory, as strips of 64 anchors whose maximum stays in registers
// but whose 80 reads are short ones, far apart. What a call reads stays in the second cache for `append_lanes`.
template <typename Element>
void select_planes(const Values<Element>& values, std::int64_t first_anchor, int anchor_count, float gate,
                   SelectedAnchors* selected) {
    alignas(64) float greatest[kMaxAnchorsPerCall];
    const int whole = anchor_count / kLanes * kLanes;
    for (int anchor = 0; anchor < whole; anchor += kLanes) store(greatest + anchor, broadcast(kLowest));
    std::int64_t class_id = raise_over_classes<16>(values, 0, first_anchor, whole, greatest);
    class_id = raise_over_classes<4>(values, class_id, first_anchor, whole, greatest);
    raise_over_classes<1>(values, class_id, first_anchor, whole, greatest);
    const Floats gates = broadcast(gate);
    for (int anchor = 0; anchor < whole; anchor += kLanes) {
        const std::uint32_t passing = lanes_greater(load(greatest + anchor), gates);
        if (passing != 0) append_lanes(values, first_anchor + anchor, passing, selected);
    }
    for (int anchor = whole; anchor < anchor_count; ++anchor) select_one(values, first_anchor + anchor, gate, selected);
}

/// What a value must exceed, in the forms that it is compared in.
template <typename Element>
struct Gate {
    explicit Gate(float gate) : value(gate), lanes(broadcast(gate)) {}

    float value;
    Floats lanes;
};

/// The bits of the bfloat16 numbers above a gate are consecutive, counted modulo 2^16: from the gate's to 7FFF, or,
/// where it is negative, from 0 on through 8000, which is -0, to the gate's. Moved so that the last is 7FFF, they are
/// the greatest int16 there are. A NaN may be among them, and so may the gate itself.
struct ShortGate : Gate<Bfloat16> {
    explicit ShortGate(float gate) : Gate<Bfloat16>(gate) {
        const auto upper = static_cast<std::int32_t>(bits_as<std::uint32_t>(gate) >> 16U);
        const bool is_negative = upper >= 0x8000;
        const auto to_last = static_cast<std::uint16_t>(is_negative ? 0x7FFF - upper : 0);
        const auto last_below = static_cast<std::int16_t>(is_negative ? 0x7FFE - upper : upper);
        distance = ShortBits{} + to_last;
        below = Shorts{} + last_below;
    }

    Shorts moved(const Bfloat16* values) const { return bits_as<Shorts>(load_short_bits(values) + distance); }

    ShortBits distance;
    Shorts below;  ///< the greatest that does not pass
};

// Classes contiguous: no maximum is needed to see that none of them passes. (Inlined by force, here and below: a call
// for every anchor takes half as long again.)
template <typename Element>
__attribute__((always_inline)) inline bool any_class_passes(const Element* value, std::int64_t class_count,
                                                            const Gate<Element>& gate) {
    std::uint32_t passing = 0;
    std::int64_t class_id = 0;
    for (; class_id + kLanes <= class_count; class_id += kLanes)
        passing |= lanes_greater(load(value + class_id), gate.lanes);
    if (class_id == class_count) return passing != 0;
    if (class_count >= kLanes) {  // the last vector overlaps the one before it
        return (passing | lanes_greater(load(value + class_count - kLanes), gate.lanes)) != 0;
    }
    for (; class_id < class_count; ++class_id) passing |= value[class_id] > gate.value ? 1u : 0u;
    return passing != 0;
}

// The same in half the instructions. True too for what `ShortGate` lets through.
__attribute__((always_inline)) inline bool any_class_passes(const Bfloat16* value, std::int64_t class_count,
                                                            const ShortGate& gate) {
    if (class_count < kShortLanes) return any_class_passes<Bfloat16>(value, class_count, gate);
    Shorts greatest = gate.moved(value + class_count - kShortLanes);
    for (std::int64_t class_id = 0; class_id + kShortLanes <= class_count; class_id += kShortLanes)
        greatest = greater_of(gate.moved(value + class_id), greatest);
    return any_lane_greater(greatest, gate.below);
}

inline Gate<float> gate_for(const float*, float gate) {
    return Gate<float>(gate);
}
inline ShortGate gate_for(const Bfloat16*, float gate) {
    return ShortGate(gate);
}

// Classes contiguous, at least kLanes of them: the greatest, then the first class that has it, if it passes.
template <typename Element>
void append_best_class(const Element* value, std::int64_t class_count, std::int64_t anchor, float gate,
                       SelectedAnchors* selected) {
    Floats lanes = load(value + class_count - kLanes);
    lanes = greater_of(lanes, broadcast(kLowest));  // NaN lanes become the lowest
    for (std::int64_t class_id = 0; class_id + kLanes <= class_count; class_id += kLanes) {
        lanes = greater_of(load(value + class_id), lanes);
    }
    float greatest = kLowest;
    for (int lane = 0; lane < kLanes; ++lane) greatest = lanes[lane] > greatest ? lanes[lane] : greatest;
    std::int64_t class_id = 0;
    // The end is looked at too: values that another thread writes meanwhile may no longer hold the greatest.
    while (class_id + 1 < class_count && !(value[class_id] >= greatest)) ++class_id;
    if (value[class_id] > gate) append(anchor, static_cast<std::int32_t>(class_id), value[class_id], selected);
}

// Classes contiguous.
template <typename Element, typename Gates>
void select_rows(const Values<Element>& values, std::int64_t first, std::int64_t end, const Gates& gate,
                 SelectedAnchors* selected) {
    for (std::int64_t anchor = first; anchor < end; ++anchor) {
        const Element* value = values.data + anchor * values.anchor_step;
        if (!any_class_passes(value, values.class_count, gate)) continue;
        if (values.class_count >= kLanes) {
            append_best_class(value, values.class_count, anchor, gate.value, selected);
        } else {
            select_one(values, anchor, gate.value, selected);
        }
    }
}

// Anchors of few classes that lie one behind the other are looked at together: few of them pass.
template <typename Element, typename Gates>
void select_short_rows(const Values<Element>& values, std::int64_t first, std::int64_t end, const Gates& gate,
                       SelectedAnchors* selected) {
    const std::int64_t together = kValuesTogether / values.class_count;
    for (std::int64_t group = first; group < end; group += together) {
        const std::int64_t stop = group + together < end ? group + together : end;
        if (any_class_passes(values.data + group * values.class_count, (stop - group) * values.class_count, gate)) {
            select_rows(values, group, stop, gate, selected);
        }
    }
}

template <typename Element>
void select_among(const Values<Element>& values, std::int64_t first_anchor, int anchor_count, float gate,
                  SelectedAnchors* selected) {
    selected->count = 0;
    if (values.anchor_step == 1) return select_planes(values, first_anchor, anchor_count, gate, selected);
    const auto gates = gate_for(values.data, gate);
    const bool are_few = values.class_count > 0 && 2 * values.class_count <= kValuesTogether;
    if (are_few && values.anchor_step == values.class_count) {
        return select_short_rows(values, first_anchor, first_anchor + anchor_count, gates, selected);
    }
    select_rows(values, first_anchor, first_anchor + anchor_count, gates, selected);
}

template <typename Element>
Values<Element> values_of(const ClassValues& values) {
    return {static_cast<const Element*>(values.data), values.class_step, values.anchor_step, values.class_count};
}

}  // namespace

void select_candidates(const ClassValues& values, std::int64_t first_anchor, int anchor_count, float gate,
                       SelectedAnchors* selected) {
    if (values.dtype == DataType::kBfloat16) {
        select_among(values_of<Bfloat16>(values), first_anchor, anchor_count, gate, selected);
    } else {
        select_among(values_of<float>(values), first_anchor, anchor_count, gate, selected);
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
