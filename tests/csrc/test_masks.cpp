// What the sanitizers are to see: masks in every convention and layout, from memory that ends where the values do, on
// every instruction set; and that all of these give the same bits.

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "rfkernels/instruction_set.h"
#include "rfkernels/masks.h"
#include "rfkernels/preprocess.h"

namespace {

using rfkernels::ContourChoice;
using rfkernels::DataType;
using rfkernels::decode_run_lengths;
using rfkernels::MaskConvention;
using rfkernels::MaskGrid;
using rfkernels::MaskSources;
using rfkernels::Polygons;
using rfkernels::RunLengths;

constexpr std::int64_t kNetworkHeight = 64, kNetworkWidth = 96, kHeight = 16, kWidth = 24;

MaskGrid grid_for(std::int64_t image_height, std::int64_t image_width, MaskConvention convention, double factor) {
    rfkernels::MaskGridRequest request;
    request.convention = convention;
    const auto rounding =
        convention == MaskConvention::kV2 ? rfkernels::SizeRounding::kTruncate : rfkernels::SizeRounding::kHalfToEven;
    CHECK(rfkernels::plan_letterbox(rfkernels::whole_image(image_height, image_width), {kNetworkHeight, kNetworkWidth},
                                    rounding, &request.placement)
              .ok());
    request.image_height = image_height;
    request.image_width = image_width;
    request.network_height = kNetworkHeight;
    request.network_width = kNetworkWidth;
    request.prototype_height = kHeight;
    request.prototype_width = kWidth;
    request.resolution_factor = factor;
    MaskGrid grid;
    CHECK(plan_mask_grid(request, &grid).ok());
    return grid;
}

/// The masks of `grid` in all forms.
struct Answer {
    Polygons best, all;
    RunLengths lengths;
    std::vector<std::uint8_t> bits, dense;
};

Answer answer_of(const MaskSources& sources, const MaskGrid& grid) {
    Answer answer;
    answer.bits.assign(static_cast<std::size_t>(sources.count * grid.height * ((grid.width + 7) / 8)), 0xFF);
    answer.dense.assign(static_cast<std::size_t>(sources.count * grid.height * grid.width), 0xFF);
    CHECK(masks_to_polygons(sources, grid, ContourChoice::kMostPoints, &answer.best).ok());
    CHECK(masks_to_polygons(sources, grid, ContourChoice::kAll, &answer.all).ok());
    CHECK(masks_to_run_lengths(sources, grid, &answer.lengths).ok());
    CHECK(masks_to_bits(sources, grid, answer.bits.data()).ok());
    CHECK(masks_to_dense(sources, grid, answer.dense.data()).ok());
    for (std::int64_t i = 0; i < sources.count; ++i) {
        std::vector<std::uint8_t> decoded(static_cast<std::size_t>(grid.height * grid.width), 0xFF);
        const auto index = static_cast<std::size_t>(i);
        CHECK(decode_run_lengths(answer.lengths.counts[index], grid.height, grid.width, decoded.data()).ok());
        for (std::size_t pixel = 0; pixel < decoded.size(); ++pixel)
            CHECK(decoded[pixel] == answer.dense[index * decoded.size() + pixel]);
    }
    return answer;
}

bool equal(const Polygons& a, const Polygons& b) {
    return a.points == b.points && a.first_points == b.first_points && a.first_contours == b.first_contours &&
           a.areas == b.areas;
}

bool equal(const Answer& a, const Answer& b) {
    return equal(a.best, b.best) && equal(a.all, b.all) && a.lengths.counts == b.lengths.counts && a.bits == b.bits &&
           a.dense == b.dense;
}

/// Values [channels, kHeight, kWidth] in one of the layouts an engine gives, in memory of just that size.
struct Prototypes {
    std::vector<float> values;
    std::vector<std::uint16_t> halves;
    rfkernels::TensorView view;

    Prototypes(const std::vector<float>& planes, std::int64_t channels, bool channels_last, bool is_bfloat16) {
        constexpr std::int64_t kPixels = kHeight * kWidth;
        values.resize(planes.size());
        for (std::int64_t channel = 0; channel < channels; ++channel) {
            for (std::int64_t pixel = 0; pixel < kPixels; ++pixel) {
                const std::int64_t to = channels_last ? pixel * channels + channel : channel * kPixels + pixel;
                values[static_cast<std::size_t>(to)] = planes[static_cast<std::size_t>(channel * kPixels + pixel)];
            }
        }
        if (is_bfloat16) {
            for (const float value : values) halves.push_back(upper_half(value));
            values.clear();
            values.shrink_to_fit();
        }
        const std::int64_t element = is_bfloat16 ? 2 : 4;
        view.data = is_bfloat16 ? static_cast<void*>(halves.data()) : values.data();
        view.dtype = is_bfloat16 ? DataType::kBfloat16 : DataType::kFloat32;
        view.rank = 4;
        view.shape = {1, channels, kHeight, kWidth};
        view.strides = {channels * kPixels * element, kPixels * element, kWidth * element, element};
        if (channels_last) {
            view.strides = {channels * kPixels * element, element, kWidth * channels * element, channels * element};
        }
    }

    static std::uint16_t upper_half(float value) {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof(bits));
        return static_cast<std::uint16_t>(bits >> 16U);
    }
};

void check_masks(std::int64_t image_height, std::int64_t image_width, std::int64_t channels) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> share;
    std::vector<float> planes(static_cast<std::size_t>(channels * kHeight * kWidth));
    for (float& value : planes) {
        // As a bfloat16 holds it, so that every layout and type gives the same masks.
        const std::uint32_t bits = static_cast<std::uint32_t>(Prototypes::upper_half(normal(random))) << 16U;
        std::memcpy(&value, &bits, sizeof(value));
    }
    constexpr std::int64_t kCount = 6;
    std::vector<float> coefficients(static_cast<std::size_t>(kCount * channels));
    for (float& value : coefficients) value = normal(random);
    std::vector<float> boxes;
    for (std::int64_t i = 0; i < kCount; ++i) {
        const float x = share(random) * 120.0F - 20.0F, y = share(random) * 80.0F - 15.0F;
        const float width = share(random) * 90.0F, height = share(random) * 70.0F;
        boxes.insert(boxes.end(), {x, y, x + width, y + height});
    }
    boxes[4] = std::numeric_limits<float>::quiet_NaN();
    for (const auto convention :
         {MaskConvention::kV2, MaskConvention::kUltralytics, MaskConvention::kUltralyticsNative}) {
        const MaskGrid grid =
            grid_for(image_height, image_width, convention, convention == MaskConvention::kV2 ? 0.7 : 1.0);
        CHECK(rfkernels::force_instruction_set("baseline").ok());
        const Prototypes first(planes, channels, false, false);
        const Answer expected = answer_of({first.view, coefficients.data(), boxes.data(), kCount}, grid);
        for (const auto instruction_set : rfkernels::supported_instruction_sets()) {
            CHECK(rfkernels::force_instruction_set(rfkernels::name_of(instruction_set)).ok());
            for (const bool channels_last : {false, true}) {
                for (const bool is_bfloat16 : {false, true}) {
                    const Prototypes prototypes(planes, channels, channels_last, is_bfloat16);
                    const MaskSources sources{prototypes.view, coefficients.data(), boxes.data(), kCount};
                    CHECK(equal(answer_of(sources, grid), expected));
                }
            }
        }
    }
}

void check_outlines() {
    std::mt19937 random(9);
    for (const std::int64_t height : {1, 2, 63, 64, 65}) {
        for (const std::int64_t width : {1, 3, 63, 64, 65, 130}) {
            for (const unsigned of_four : {0U, 1U, 2U, 3U, 4U}) {
                std::vector<std::uint8_t> mask(static_cast<std::size_t>(height * width));
                std::int64_t area = 0;
                for (std::uint8_t& pixel : mask) area += pixel = random() % 4 < of_four ? 1 : 0;
                const rfkernels::DenseMask view{mask.data(), height, width, width};
                Polygons polygons;
                CHECK(find_contours(view, ContourChoice::kAll, &polygons).ok());
                CHECK(polygons.areas[0] == area && (polygons.points.empty() == (area == 0)));
                CHECK(polygons.first_points.back() * 2 == static_cast<std::int64_t>(polygons.points.size()));
                for (std::size_t i = 0; i < polygons.points.size(); i += 2) {
                    const std::int64_t place = polygons.points[i + 1] * width + polygons.points[i];
                    CHECK(mask[static_cast<std::size_t>(place)] == 1);
                }
                RunLengths lengths;
                CHECK(encode_run_lengths(view, &lengths).ok());
                std::vector<std::uint8_t> decoded(mask.size(), 0xFF);
                CHECK(decode_run_lengths(lengths.counts[0], height, width, decoded.data()).ok());
                CHECK(decoded == mask);
            }
        }
    }
}

void check_damaged_run_lengths() {
    std::mt19937 random(11);
    std::vector<std::uint8_t> out(12);
    for (int i = 0; i < 2000; ++i) {
        std::string text;
        for (unsigned length = random() % 20; length > 0; --length) text += static_cast<char>(random());
        (void)decode_run_lengths(text, 3, 4, out.data()).ok();
    }
    CHECK(!decode_run_lengths("", 3, 4, out.data()).ok());
    CHECK(decode_run_lengths("<", 3, 4, out.data()).ok());
}

void check_wrong_arguments() {
    MaskGrid grid = grid_for(40, 60, MaskConvention::kV2, 1.0);
    const std::vector<float> planes(32 * kHeight * kWidth, 1.0F);
    const Prototypes prototypes(planes, 32, false, false);
    const std::vector<float> coefficients(32, 1.0F), boxes = {0.0F, 0.0F, 50.0F, 50.0F};
    RunLengths lengths;
    MaskSources sources{prototypes.view, coefficients.data(), boxes.data(), 1};
    CHECK(masks_to_run_lengths(sources, grid, &lengths).ok());
    sources.boxes = nullptr;
    CHECK(!masks_to_run_lengths(sources, grid, &lengths).ok());
    sources = MaskSources{prototypes.view, coefficients.data(), boxes.data(), -1};
    CHECK(!masks_to_run_lengths(sources, grid, &lengths).ok());
    sources.count = 1;
    CHECK(!masks_to_bits(sources, grid, nullptr).ok());
    CHECK(!masks_to_dense(sources, grid, nullptr).ok());
    CHECK(!decode_run_lengths("1", 1, 1, nullptr).ok());
    for (auto change :
         {+[](MaskGrid* wrong) { wrong->left = 1; }, +[](MaskGrid* wrong) { wrong->height = 0; },
          +[](MaskGrid* wrong) { wrong->resized_width = 1 << 30; }, +[](MaskGrid* wrong) { wrong->source.width = 0; },
          +[](MaskGrid* wrong) { wrong->prototype_width = 23; }, +[](MaskGrid* wrong) { wrong->presampling = 0; }}) {
        MaskGrid wrong = grid;
        change(&wrong);
        CHECK(!masks_to_run_lengths(sources, wrong, &lengths).ok());
    }
}

/// Masks over what they are made of are refused before a byte of it is written; memory beside it is not.
void check_overlap() {
    const MaskGrid grid = grid_for(16, 24, MaskConvention::kV2, 1.0);
    constexpr std::int64_t kChannels = 8, kCount = 3;
    const auto dense_bytes = static_cast<std::size_t>(kCount * grid.height * grid.width);
    const auto bits_bytes = static_cast<std::size_t>(kCount * grid.height * ((grid.width + 7) / 8));
    // Prototypes, coefficients and boxes, one behind the other, with room for masks before and after.
    const std::size_t room = (dense_bytes + 3) / 4;
    const std::size_t counts[] = {kChannels * kHeight * kWidth, kCount * kChannels, kCount * 4};
    std::vector<float> memory(room + counts[0] + counts[1] + counts[2] + room, 1.0F);
    float* const prototypes = memory.data() + room;
    float* const coefficients = prototypes + counts[0];
    float* const boxes = coefficients + counts[1];
    rfkernels::TensorView view;
    view.data = prototypes;
    view.rank = 4;
    view.shape = {1, kChannels, kHeight, kWidth};
    view.strides = {0, kHeight * kWidth * 4, kWidth * 4, 4};
    rfkernels::TensorView backwards = view;
    backwards.data = prototypes + (kChannels - 1) * kHeight * kWidth;
    backwards.strides[1] = -view.strides[1];
    const std::vector<float> before = memory;
    const auto bytes_at = [](float* place) { return reinterpret_cast<std::uint8_t*>(place); };
    const auto says = [](const rfkernels::Status& status, const char* name) {
        return std::string(status.message()).find(std::string("out overlaps ") + name) == 0;
    };
    for (const rfkernels::TensorView& planes : {view, backwards}) {
        const MaskSources sources{planes, coefficients, boxes, kCount};
        CHECK(says(masks_to_dense(sources, grid, bytes_at(prototypes)), "prototypes"));
        CHECK(says(masks_to_dense(sources, grid, bytes_at(prototypes) - dense_bytes + 1), "prototypes"));
        CHECK(says(masks_to_bits(sources, grid, bytes_at(prototypes) - bits_bytes + 1), "prototypes"));
        CHECK(says(masks_to_bits(sources, grid, bytes_at(coefficients) - 1), "prototypes"));
        CHECK(says(masks_to_dense(sources, grid, bytes_at(coefficients)), "coefficients"));
        CHECK(says(masks_to_bits(sources, grid, bytes_at(boxes) - 1), "coefficients"));
        CHECK(says(masks_to_dense(sources, grid, bytes_at(boxes) + kCount * 16 - 1), "boxes"));
        CHECK(says(masks_to_bits(sources, grid, bytes_at(boxes)), "boxes"));
        CHECK(memory == before);
        const MaskSources none{planes, coefficients, boxes, 0};
        CHECK(masks_to_dense(none, grid, bytes_at(prototypes)).ok() && memory == before);
    }
    const MaskSources sources{view, coefficients, boxes, kCount};
    CHECK(masks_to_dense(sources, grid, bytes_at(prototypes) - dense_bytes).ok());
    CHECK(masks_to_bits(sources, grid, bytes_at(boxes) + kCount * 16).ok());
}

}  // namespace

int main() {
    for (const std::int64_t channels : {1, 7, 8, 32, 33}) {
        check_masks(40, 60, channels);
        check_masks(133, 71, channels);
    }
    for (const std::int64_t side : {1, 5, 200}) {
        check_masks(side, 300, 32);
        check_masks(300, side, 32);
        check_masks(side, side, 32);
    }
    check_outlines();
    check_damaged_run_lengths();
    check_wrong_arguments();
    check_overlap();
    return 0;
}
