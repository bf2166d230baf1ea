#include "device/lanes.h"
#include "kernels.h"

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

struct Candidate {
    float x1, y1, x2, y2, area;
};

// IoU > threshold with any box of the block? The division is the definition; it is reached only where it can succeed:
// if inter / union > threshold then inter >= threshold * union, before rounding and, rounding being monotonic, after
// it. (Not so for a negative union, which only inverted boxes have: there the quotient is not positive and suppresses
// nothing, and the division says so.)
inline bool overlaps_block(const BoxBlock& block, const Candidate& candidate, Floats threshold) {
    const Floats zero{};
    std::uint32_t suppressing = 0;
    for (int box = 0; box < kBlockBoxes; box += kLanes) {
        const Floats left = greater_of(load(block.x1 + box), broadcast(candidate.x1));
        const Floats top = greater_of(load(block.y1 + box), broadcast(candidate.y1));
        const Floats right = lesser_of(load(block.x2 + box), broadcast(candidate.x2));
        const Floats bottom = lesser_of(load(block.y2 + box), broadcast(candidate.y2));
        const Floats width = greater_of(right - left, zero);
        const Floats height = greater_of(bottom - top, zero);
        const Floats inter = width * height;
        const Floats either = (load(block.area + box) + broadcast(candidate.area)) - inter;
        const std::uint32_t possible = ~lanes_greater(threshold * either, inter) & lanes_greater(inter, zero);
        if (possible != 0) suppressing |= lanes_greater(inter / either, threshold);
    }
    return suppressing != 0;
}

void keep(BoxBlock* block, int place, const Candidate& candidate) {
    if (place == 0) {
        // An empty place: right of everything on its left side, left of everything on its right; area 0.
        constexpr float kInfinity = __builtin_inff();
        for (int box = 0; box < kBlockBoxes; ++box) {
            block->x1[box] = kInfinity;
            block->y1[box] = kInfinity;
            block->x2[box] = -kInfinity;
            block->y2[box] = -kInfinity;
            block->area[box] = 0.0f;
        }
    }
    block->x1[place] = candidate.x1;
    block->y1[place] = candidate.y1;
    block->x2[place] = candidate.x2;
    block->y2[place] = candidate.y2;
    block->area[place] = candidate.area;
}

}  // namespace

// Every candidate, best first, meets the kept boxes of its group: n x kept comparisons instead of n^2 / 2, no bit
// matrix, and the end is reached as soon as max_kept boxes are.
std::int64_t suppress_greedily(const Suppression& suppression, std::int32_t* kept) {
    const Floats threshold = broadcast(suppression.iou_threshold);
    std::int64_t kept_count = 0;
    for (std::int64_t position = 0; position < suppression.count && kept_count < suppression.max_kept; ++position) {
        const std::int32_t index = suppression.order[position];
        const float* box = suppression.boxes + 4 * static_cast<std::int64_t>(index);
        const Candidate candidate{box[0], box[1], box[2], box[3], (box[2] - box[0]) * (box[3] - box[1])};
        const std::int32_t group = suppression.groups == nullptr ? 0 : suppression.groups[index];
        BoxBlock* blocks = suppression.blocks + suppression.first_block[group];
        std::int64_t& kept_in_group = suppression.kept_in_group[group];
        bool suppressed = false;
        for (std::int64_t block = 0; block * kBlockBoxes < kept_in_group && !suppressed; ++block) {
            suppressed = overlaps_block(blocks[block], candidate, threshold);
        }
        if (suppressed) continue;
        keep(blocks + kept_in_group / kBlockBoxes, static_cast<int>(kept_in_group % kBlockBoxes), candidate);
        ++kept_in_group;
        kept[kept_count++] = index;
    }
    return kept_count;
}

}  // namespace RFK_VARIANT
}  // namespace rfkernels
