#include "resampling.h"

#include <algorithm>
#include <cmath>

#include "masks_kernels.h"

namespace rfkernels {
namespace {

/// The pixels that an axis is made of, and what it becomes.
struct Axis {
    std::int64_t source_first;
    std::int64_t source_size;
    std::int64_t size;
    bool antialias;
    int presampling;
    std::int64_t prototype_size;
};

/// Calls visit(pixel, weight) for the pixels of [0, source_size) that result `index` of `size` is made of, ascending.
template <typename Visit>
void visit_linear(std::int64_t source_size, std::int64_t size, std::int64_t index, Visit visit) {
    const double scale = static_cast<double>(source_size) / static_cast<double>(size);
    const double place = std::max((static_cast<double>(index) + 0.5) * scale - 0.5, 0.0);
    const std::int64_t first = std::min(static_cast<std::int64_t>(place), source_size - 1);
    if (first == source_size - 1) {
        visit(first, 1.0);
        return;
    }
    const double share = place - static_cast<double>(first);
    visit(first, 1.0 - share);
    visit(first + 1, share);
}

template <typename Visit>
void visit_antialiased(std::int64_t source_size, std::int64_t size, std::int64_t index, Visit visit) {
    const double scale = static_cast<double>(source_size) / static_cast<double>(size);
    const double support = std::max(scale, 1.0);
    const double centre = (static_cast<double>(index) + 0.5) * scale;
    const auto first = static_cast<std::int64_t>(std::max(centre - support + 0.5, 0.0));
    const std::int64_t end = std::min(static_cast<std::int64_t>(centre + support + 0.5), source_size);
    const auto weight_of = [&](std::int64_t pixel) {
        return std::max(1.0 - std::fabs(static_cast<double>(pixel) + 0.5 - centre) / support, 0.0);
    };
    double sum = 0.0;
    for (std::int64_t pixel = first; pixel < end; ++pixel) sum += weight_of(pixel);
    for (std::int64_t pixel = first; pixel < end; ++pixel) visit(pixel, weight_of(pixel) / sum);
}

/// The prototype pixels that one pixel of the enlarged axis is made of. Beyond the prototypes there is nothing to
/// interpolate: such pixels count as outside of every object, wherever they lie.
template <typename Visit>
void visit_enlarged(const Axis& axis, std::int64_t pixel, Visit visit) {
    const std::int64_t enlarged_size = axis.prototype_size * axis.presampling;
    if (pixel < 0) {
        visit(pixel / axis.presampling - 1, 1.0);
    } else if (pixel >= enlarged_size) {
        visit(axis.prototype_size + (pixel - enlarged_size) / axis.presampling, 1.0);
    } else {
        visit_linear(axis.prototype_size, enlarged_size, pixel, visit);
    }
}

/// Calls visit(prototype pixel, weight) for all that result `index` is made of; a pixel may come more than once.
template <typename Visit>
void visit_taps(const Axis& axis, std::int64_t index, Visit visit) {
    const auto from_source = [&](std::int64_t pixel, double weight) {
        if (axis.presampling == 1) {
            visit(axis.source_first + pixel, weight);
        } else {
            visit_enlarged(axis, axis.source_first + pixel,
                           [&](std::int64_t inner, double share) { visit(inner, weight * share); });
        }
    };
    if (axis.antialias) {
        visit_antialiased(axis.source_size, axis.size, index, from_source);
    } else {
        visit_linear(axis.source_size, axis.size, index, from_source);
    }
}

}  // namespace

Resampling plan_resampling(std::int64_t source_first, std::int64_t source_size, std::int64_t size, bool antialias,
                           int presampling, std::int64_t prototype_size) {
    const Axis axis{source_first, source_size, size, antialias, presampling, prototype_size};
    Resampling plan;
    plan.size = size;
    plan.first.resize(static_cast<std::size_t>(size));
    for (std::int64_t index = 0; index < size; ++index) {
        bool is_first = true;
        std::int64_t first = 0, last = 0;
        visit_taps(axis, index, [&](std::int64_t pixel, double) {
            if (is_first) first = pixel;
            is_first = false;
            last = pixel;
        });
        plan.first[static_cast<std::size_t>(index)] = static_cast<std::int32_t>(first);
        plan.taps = std::max(plan.taps, static_cast<int>(last - first + 1));
    }
    plan.run_ends.resize(plan.first.size());
    std::int32_t run_end = static_cast<std::int32_t>(size);
    for (std::size_t index = plan.first.size(); index-- > 0;) {
        plan.run_ends[index] = run_end;
        if (index > 0 && plan.first[index - 1] != plan.first[index]) run_end = static_cast<std::int32_t>(index);
    }
    plan.weight_step = size + kMostLanes;
    plan.weights.assign(static_cast<std::size_t>(plan.weight_step * plan.taps), 0.0f);
    std::vector<double> weights(static_cast<std::size_t>(plan.taps));
    for (std::int64_t index = 0; index < size; ++index) {
        const std::int64_t first = plan.first[static_cast<std::size_t>(index)];
        std::fill(weights.begin(), weights.end(), 0.0);
        visit_taps(axis, index, [&](std::int64_t pixel, double weight) {
            weights[static_cast<std::size_t>(pixel - first)] += weight;
        });
        for (int tap = 0; tap < plan.taps; ++tap) {
            plan.weights[static_cast<std::size_t>(tap * plan.weight_step + index)] =
                static_cast<float>(weights[static_cast<std::size_t>(tap)]);
        }
    }
    return plan;
}

}  // namespace rfkernels
