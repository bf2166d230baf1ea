#include "rfkernels/connected_components.h"

#include <algorithm>
#include <cstring>

#include "checks.h"
#include "component_arithmetic.h"
#include "connected_components_kernels.h"
#include "device/guarded.h"
#include "rfkernels/instruction_set.h"
#include "run_components.h"

namespace rfkernels {
namespace {

Status component_kernels(ComponentKernels* kernels) {
    InstructionSet instruction_set;
    Status status = active_instruction_set(&instruction_set);
    if (!status.ok()) return status;
    *kernels = ComponentKernels{baseline::nonzero_words, baseline::threshold_words, baseline::write_row};
#if defined(RFK_X86_VARIANTS)
    if (instruction_set == InstructionSet::kAvx2) {
        *kernels = ComponentKernels{avx2::nonzero_words, avx2::threshold_words, avx2::write_row};
    } else if (instruction_set == InstructionSet::kAvx512) {
        *kernels = ComponentKernels{avx512::nonzero_words, avx512::threshold_words, avx512::write_row};
    }
#endif
    return status;
}

/// One mask while it is cleaned.
struct Cleaning {
    MaskStackSize size;
    CleaningParams params;
    ThresholdWords* threshold_words = nullptr;
    RunComponents holes;      ///< of the background
    RunComponents sprinkles;  ///< of the foreground
};

void read_side(const float* logits, ThresholdSide side, const Cleaning& cleaning, RunComponents* components) {
    const std::int64_t width = cleaning.size.width;
    components->reset(cleaning.size.height, width);
    for (std::int64_t y = 0; y < cleaning.size.height; ++y) {
        cleaning.threshold_words(logits + y * width, width, cleaning.params.threshold, side, components->row_bits(y));
    }
}

void replace_small(RunComponents* components, std::int64_t max_area, const MaskStackSize& size, float value,
                   float* out) {
    components->find();
    for (std::int64_t y = 0; y < size.height; ++y) {
        const RowRuns runs = components->row_runs(y);
        float* row = out + y * size.width;
        for (std::int64_t run = 0; run < runs.count; ++run) {
            const std::int32_t area = runs.components[2 * std::int64_t{runs.roots[run]} + 1];
            if (is_too_small(area, max_area))
                std::fill(row + runs.edges[2 * run], row + runs.edges[2 * run + 1], value);
        }
    }
}

void clean_one(const float* logits, Cleaning* cleaning, float* out) {
    const MaskStackSize& size = cleaning->size;
    const CleaningParams& params = cleaning->params;
    // Both sides are read before either is changed: `out` may be the logits themselves.
    if (params.max_hole_area > 0) read_side(logits, ThresholdSide::kBackground, *cleaning, &cleaning->holes);
    if (params.max_sprinkle_area > 0) read_side(logits, ThresholdSide::kForeground, *cleaning, &cleaning->sprinkles);
    if (out != logits) std::memcpy(out, logits, static_cast<std::size_t>(size.height * size.width) * sizeof(float));
    if (params.max_hole_area > 0)
        replace_small(&cleaning->holes, params.max_hole_area, size, filled_hole(params.threshold), out);
    if (params.max_sprinkle_area > 0)
        replace_small(&cleaning->sprinkles, params.max_sprinkle_area, size, removed_sprinkle(params.threshold), out);
}

}  // namespace

Status connected_components(const std::uint8_t* masks, const MaskStackSize& size, std::int32_t* labels,
                            std::int32_t* areas) {
    return guarded("connected_components: not enough memory for one mask", [&]() -> Status {
        Status status = check_size(size, "masks");
        if (status.ok()) status = check_memory(masks, size, "masks");
        if (status.ok()) status = check_memory(labels, size, "labels");
        if (status.ok()) status = check_memory(areas, size, "areas");
        if (status.ok()) status = check_results_apart(masks, size, labels, areas);
        ComponentKernels kernels;
        if (status.ok()) status = component_kernels(&kernels);
        if (!status.ok()) return status;
        RunComponents components;
        const std::int64_t pixel_count = size.height * size.width;
        for (std::int64_t n = 0; n < size.count; ++n) {
            components.reset(size.height, size.width);
            for (std::int64_t y = 0; y < size.height; ++y) {
                kernels.nonzero_words(masks + n * pixel_count + y * size.width, size.width, components.row_bits(y));
            }
            components.find();
            for (std::int64_t y = 0; y < size.height; ++y) {
                const std::int64_t place = y * size.width, first = n * pixel_count;
                kernels.write_row(components.row_runs(y), size.width, pixel_count - place, labels + first + place,
                                  areas + first + place);
            }
        }
        return status;
    });
}

Status clean_mask_logits(const float* logits, const MaskStackSize& size, const CleaningParams& params, float* out) {
    return guarded("clean_mask_logits: not enough memory for one mask", [&]() -> Status {
        Status status = check_size(size, "logits");
        if (status.ok()) status = check_memory(logits, size, "logits");
        if (status.ok()) status = check_memory(out, size, "out");
        if (status.ok()) status = check_params(params);
        if (status.ok()) status = check_overlap(logits, out, size, sizeof(float));
        ComponentKernels kernels;
        if (status.ok()) status = component_kernels(&kernels);
        if (!status.ok()) return status;
        const std::int64_t pixel_count = size.height * size.width;
        Cleaning cleaning;
        cleaning.size = size;
        cleaning.params = params;
        cleaning.threshold_words = kernels.threshold_words;
        for (std::int64_t n = 0; n < size.count; ++n)
            clean_one(logits + n * pixel_count, &cleaning, out + n * pixel_count);
        return status;
    });
}

}  // namespace rfkernels
