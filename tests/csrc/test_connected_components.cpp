#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "rfkernels/connected_components.h"
#include "rfkernels/instruction_set.h"

// What the sanitizers are to see: masks of every small size and around the width of a word, in buffers that end where
// they do, on every instruction set.

namespace {

using rfkernels::clean_mask_logits;
using rfkernels::CleaningParams;
using rfkernels::connected_components;
using rfkernels::MaskStackSize;
using rfkernels::Status;
using rfkernels::StatusCode;

/// Exactly so many elements: one beyond them is not ours.
template <typename Element>
std::unique_ptr<Element[]> exactly(std::int64_t count) {
    return std::unique_ptr<Element[]>(new Element[static_cast<std::size_t>(count)]);
}

std::uint32_t next_random(std::uint32_t* state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8U;
}

/// Labels of one mask by lowering them until nothing changes: slow, and true to the definition.
std::vector<std::int32_t> labels_by_lowering(const std::uint8_t* mask, std::int64_t height, std::int64_t width) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(height * width));
    for (std::int64_t i = 0; i < height * width; ++i) labels[i] = mask[i] != 0 ? static_cast<std::int32_t>(i + 1) : 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (std::int64_t i = 0; i < height * width; ++i) {
            if (labels[i] == 0) continue;
            for (std::int64_t y = i / width - 1; y <= i / width + 1; ++y) {
                for (std::int64_t x = i % width - 1; x <= i % width + 1; ++x) {
                    if (y < 0 || y >= height || x < 0 || x >= width) continue;
                    const std::int32_t other = labels[y * width + x];
                    if (other == 0 || other >= labels[i]) continue;
                    labels[i] = other;
                    changed = true;
                }
            }
        }
    }
    return labels;
}

std::int32_t area_of(const std::vector<std::int32_t>& labels, std::int32_t label) {
    std::int32_t area = 0;
    for (const std::int32_t other : labels) area += other == label ? 1 : 0;
    return label == 0 ? 0 : area;
}

void check_labels(const MaskStackSize& size, std::uint32_t percent, std::uint32_t* state) {
    const std::int64_t pixel_count = size.height * size.width;
    const auto masks = exactly<std::uint8_t>(size.count * pixel_count);
    for (std::int64_t i = 0; i < size.count * pixel_count; ++i)
        masks[i] = next_random(state) % 100 < percent ? static_cast<std::uint8_t>(1 + next_random(state) % 255) : 0;
    const auto labels = exactly<std::int32_t>(size.count * pixel_count);
    const auto areas = exactly<std::int32_t>(size.count * pixel_count);
    CHECK(connected_components(masks.get(), size, labels.get(), areas.get()).ok());
    for (std::int64_t n = 0; n < size.count; ++n) {
        const auto expected = labels_by_lowering(masks.get() + n * pixel_count, size.height, size.width);
        for (std::int64_t i = 0; i < pixel_count; ++i) {
            CHECK(labels[n * pixel_count + i] == expected[i]);
            CHECK(areas[n * pixel_count + i] == area_of(expected, expected[i]));
        }
    }
}

/// What the cleaning of one mask is to give.
std::vector<float> cleaned(const float* logits, const MaskStackSize& size, const CleaningParams& params) {
    const std::int64_t pixel_count = size.height * size.width;
    std::vector<std::uint8_t> holes(static_cast<std::size_t>(pixel_count)), sprinkles(holes);
    for (std::int64_t i = 0; i < pixel_count; ++i) {
        holes[i] = logits[i] <= params.threshold ? 1 : 0;
        sprinkles[i] = logits[i] > params.threshold ? 1 : 0;
    }
    const auto hole_labels = labels_by_lowering(holes.data(), size.height, size.width);
    const auto sprinkle_labels = labels_by_lowering(sprinkles.data(), size.height, size.width);
    std::vector<float> out(logits, logits + pixel_count);
    for (std::int64_t i = 0; i < pixel_count; ++i) {
        if (holes[i] != 0 && area_of(hole_labels, hole_labels[i]) <= params.max_hole_area)
            out[i] = params.threshold + 10.0F;
        if (sprinkles[i] != 0 && area_of(sprinkle_labels, sprinkle_labels[i]) <= params.max_sprinkle_area)
            out[i] = params.threshold - 10.0F;
    }
    return out;
}

void check_cleaning(const MaskStackSize& size, const CleaningParams& params, std::uint32_t* state) {
    const std::int64_t pixel_count = size.height * size.width;
    const auto logits = exactly<float>(size.count * pixel_count);
    for (std::int64_t i = 0; i < size.count * pixel_count; ++i) {
        const std::uint32_t number = next_random(state) % 9;
        logits[i] = number == 8 ? std::nanf("") : params.threshold + 0.5F * (static_cast<float>(number) - 4.0F);
    }
    const auto out = exactly<float>(size.count * pixel_count);
    CHECK(clean_mask_logits(logits.get(), size, params, out.get()).ok());
    const auto in_place = exactly<float>(size.count * pixel_count);
    std::memcpy(in_place.get(), logits.get(), static_cast<std::size_t>(size.count * pixel_count) * sizeof(float));
    CHECK(clean_mask_logits(in_place.get(), size, params, in_place.get()).ok());
    for (std::int64_t n = 0; n < size.count; ++n) {
        const auto expected = cleaned(logits.get() + n * pixel_count, size, params);
        const auto bytes = static_cast<std::size_t>(pixel_count) * sizeof(float);
        CHECK(std::memcmp(out.get() + n * pixel_count, expected.data(), bytes) == 0);
        CHECK(std::memcmp(in_place.get() + n * pixel_count, expected.data(), bytes) == 0);
    }
}

void check_sizes() {
    std::uint32_t state = 7;
    for (const std::int64_t height : {1, 2, 3, 7}) {
        for (const std::int64_t width : {1, 2, 3, 8, 17, 63, 64, 65, 128, 131}) {
            for (const std::int64_t count : {1, 3}) {
                const MaskStackSize size{count, height, width};
                for (const std::uint32_t percent : {0U, 30U, 50U, 80U, 100U}) check_labels(size, percent, &state);
                check_cleaning(size, CleaningParams{3, 0, 0.0F}, &state);
                check_cleaning(size, CleaningParams{0, 4, 0.5F}, &state);
                check_cleaning(size, CleaningParams{2, 5, -1.0F}, &state);
            }
        }
    }
}

/// The second half of a word says what is wrong, and nothing is read or written.
void check_refused(const Status& status, const std::string& said) {
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find(said) != std::string::npos);
}

void check_errors() {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    std::uint8_t mask[4] = {};
    std::int32_t numbers[8] = {};
    float logits[8] = {};
    const auto label = [&](const MaskStackSize& size) {
        return connected_components(mask, size, numbers, numbers + 4);
    };
    for (const MaskStackSize& size :
         {MaskStackSize{1, 0, 2}, MaskStackSize{1, 2, 0}, MaskStackSize{1, -1, 2}, MaskStackSize{1, 1, 2147483647},
          MaskStackSize{1, 65536, 32768}, MaskStackSize{0, kMost, kMost}}) {
        check_refused(label(size), "masks are ");
        check_refused(clean_mask_logits(logits, size, CleaningParams{}, logits), "logits are ");
    }
    for (const std::int64_t count : {std::int64_t{-1}, kMost, kMost / 8}) {
        check_refused(label({count, 2, 2}), "count of masks is ");
        check_refused(clean_mask_logits(logits, {count, 2, 2}, CleaningParams{}, logits), "count of logits is ");
    }
    const MaskStackSize size{1, 2, 2};
    check_refused(connected_components(nullptr, size, numbers, numbers), "masks is a null pointer");
    check_refused(connected_components(mask, size, nullptr, numbers), "labels is a null pointer");
    check_refused(connected_components(mask, size, numbers, nullptr), "areas is a null pointer");
    check_refused(clean_mask_logits(nullptr, size, CleaningParams{}, logits), "logits is a null pointer");
    check_refused(clean_mask_logits(logits, size, CleaningParams{}, nullptr), "out is a null pointer");
    CHECK(connected_components(nullptr, {0, 2, 2}, nullptr, nullptr).ok());
    std::int32_t twelve[12] = {};
    const auto bytes_at = [&](int place) { return reinterpret_cast<std::uint8_t*>(twelve) + place; };
    for (const int place : {0, 3, 15}) {
        check_refused(connected_components(bytes_at(place), size, twelve, twelve + 8), "labels overlaps masks");
        check_refused(connected_components(bytes_at(place), size, twelve + 8, twelve), "areas overlaps masks");
    }
    for (const int apart : {0, 1, 3}) {
        check_refused(connected_components(mask, size, twelve, twelve + apart), "areas overlaps labels");
        check_refused(connected_components(mask, size, twelve + apart, twelve), "areas overlaps labels");
    }
    CHECK(connected_components(bytes_at(16), size, twelve, twelve + 8).ok());  // side by side is apart
    CHECK(clean_mask_logits(nullptr, {0, 2, 2}, CleaningParams{1, 1, 0.0F}, nullptr).ok());

    const auto clean = [&](const CleaningParams& params) {
        return clean_mask_logits(logits, size, params, logits + 4);
    };
    CHECK(clean(CleaningParams{kMost, kMost, rfkernels::kFurthestThreshold}).ok());
    check_refused(clean(CleaningParams{-1, 0, 0.0F}), "max_hole_area is -1");
    check_refused(clean(CleaningParams{0, -1, 0.0F}), "max_sprinkle_area is -1");
    for (const float threshold : {std::nanf(""), INFINITY, -INFINITY, 2.0F * rfkernels::kFurthestThreshold})
        check_refused(clean(CleaningParams{0, 0, threshold}), "threshold is ");
    for (const int apart : {1, 2, 3}) {
        check_refused(clean_mask_logits(logits, size, CleaningParams{}, logits + apart), "out overlaps logits");
        check_refused(clean_mask_logits(logits + apart, size, CleaningParams{}, logits), "out overlaps logits");
    }
}

}  // namespace

int main() {
    for (const auto instruction_set : rfkernels::supported_instruction_sets()) {
        CHECK(rfkernels::force_instruction_set(rfkernels::name_of(instruction_set)).ok());
        check_sizes();
    }
    check_errors();
    return 0;
}
