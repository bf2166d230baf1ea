#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "device/arithmetic.h"
#include "rfkernels/keypoints.h"

// What the sanitizers are to see: heads and rows of every layout and type in buffers that end where the values do.

namespace {

using namespace rfkernels;

/// A tensor whose memory is exactly as long as it is.
struct Tensor {
    std::vector<float> values;
    std::vector<std::uint16_t> halves;
    TensorView view;
};

constexpr std::int64_t kBatch = 2;

float random_value(std::mt19937* random) {
    const std::uint32_t bits = (*random)();
    if (bits % 50 == 0) return std::numeric_limits<float>::quiet_NaN();
    if (bits % 50 == 1) return std::numeric_limits<float>::infinity();
    const float value = static_cast<float>(bits % 2000) / 100.0f - 10.0f;
    return bits_as<float>(bits_as<std::uint32_t>(value) & 0xFFFF0000U);  // also a bfloat16
}

/// `shape` in memory with the axes in this order, the last one contiguous.
Tensor laid_out(const std::vector<float>& values, std::vector<std::int64_t> shape, const std::vector<int>& order,
                bool as_bfloat16) {
    Tensor tensor;
    tensor.view.rank = static_cast<int>(shape.size());
    std::vector<std::int64_t> steps(shape.size());
    std::int64_t step = 1;
    for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
        steps[static_cast<std::size_t>(*axis)] = step;
        step *= shape[static_cast<std::size_t>(*axis)];
    }
    tensor.values.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::int64_t rest = static_cast<std::int64_t>(i);
        std::int64_t at = 0;
        for (std::size_t axis = shape.size(); axis-- > 0;) {
            at += rest % shape[axis] * steps[axis];
            rest /= shape[axis];
        }
        tensor.values[static_cast<std::size_t>(at)] = values[i];
    }
    const std::int64_t element = as_bfloat16 ? 2 : 4;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        tensor.view.shape[axis] = shape[axis];
        tensor.view.strides[axis] = steps[axis] * element;
    }
    tensor.view.data = tensor.values.data();
    if (as_bfloat16) {
        for (const float value : tensor.values) {
            tensor.halves.push_back(static_cast<std::uint16_t>(bits_as<std::uint32_t>(value) >> 16U));
        }
        tensor.halves.shrink_to_fit();
        tensor.view.data = tensor.halves.data();
        tensor.view.dtype = DataType::kBfloat16;
    }
    return tensor;
}

std::vector<ImageTarget> targets() {
    ImageTarget target;
    target.placement.left = 3;
    target.placement.top = -2;
    target.placement.scale_x = 0.5;
    target.placement.scale_y = 0.75;
    target.image_width = 123;
    target.image_height = 77;
    return std::vector<ImageTarget>(kBatch, target);
}

bool equal(const std::vector<Keypoints>& a, const std::vector<Keypoints>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].points != b[i].points || a[i].keypoint_count != b[i].keypoint_count) return false;
    }
    return true;
}

std::vector<float> random_values(std::mt19937* random, std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random_value(random);
    return values;
}

struct Case {
    std::int64_t channels = 0;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    KeypointParams params;
};

/// Every anchor of two levels, the last one first, in both forms and every layout.
void check_case(const Case& given, std::mt19937* random) {
    const std::int64_t coarse_columns = 3;
    const std::int64_t fine = given.rows * given.columns;
    const std::int64_t anchors = fine + coarse_columns;
    const std::vector<float> fine_values = random_values(random, kBatch * given.channels * fine);
    const std::vector<float> coarse_values = random_values(random, kBatch * given.channels * coarse_columns);
    std::vector<std::int32_t> indices;
    for (std::int64_t anchor = anchors; anchor-- > 0;) indices.push_back(static_cast<std::int32_t>(anchor));
    const ChosenAnchors chosen[kBatch] = {{indices.data(), anchors}, {indices.data(), 1}};
    const std::vector<ImageTarget> images = targets();

    std::vector<Keypoints> first;
    for (const bool as_bfloat16 : {false, true}) {
        for (const bool channels_last : {false, true}) {
            const std::vector<int> order = channels_last ? std::vector<int>{0, 2, 3, 1} : std::vector<int>{0, 1, 2, 3};
            const Tensor head =
                laid_out(fine_values, {kBatch, given.channels, given.rows, given.columns}, order, as_bfloat16);
            const Tensor coarse =
                laid_out(coarse_values, {kBatch, given.channels, 1, coarse_columns}, order, as_bfloat16);
            const KeypointLevel levels[] = {{head.view, 8}, {coarse.view, 32}};
            std::vector<Keypoints> found;
            CHECK(keypoints_from_heads(levels, 2, chosen, images.data(), kBatch, given.params, &found).ok());
            if (first.empty()) first = found;
            CHECK(equal(found, first));
        }
    }
    CHECK(first.size() == kBatch);
    CHECK(first[0].keypoint_count == given.channels / given.params.dimensions);
    CHECK(first[0].points.size() == static_cast<std::size_t>(3 * anchors * first[0].keypoint_count));
    CHECK(first[1].points.size() == static_cast<std::size_t>(3 * first[0].keypoint_count));
    for (const Keypoints& image : first) {
        for (const float value : image.points) CHECK(is_finite(value) && !(value == 0.0f && std::signbit(value)));
    }

    const AnchorGrid grids[] = {{given.rows, given.columns, 8}, {1, coarse_columns, 32}};
    std::vector<float> rows[kBatch];
    for (std::int64_t image = 0; image < kBatch; ++image) {
        for (std::int64_t k = 0; k < chosen[image].count; ++k) {
            const std::int64_t anchor = indices[static_cast<std::size_t>(k)];
            const std::vector<float>& values = anchor < fine ? fine_values : coarse_values;
            const std::int64_t count = anchor < fine ? fine : coarse_columns;
            for (std::int64_t channel = 0; channel < given.channels; ++channel) {
                const std::int64_t at =
                    (image * given.channels + channel) * count + (anchor < fine ? anchor : anchor - fine);
                rows[image].push_back(values[static_cast<std::size_t>(at)]);
            }
        }
    }
    for (const bool as_bfloat16 : {false, true}) {
        for (const bool by_columns : {false, true}) {
            const std::vector<int> order = by_columns ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
            const Tensor matrices[kBatch] = {laid_out(rows[0], {chosen[0].count, given.channels}, order, as_bfloat16),
                                             laid_out(rows[1], {chosen[1].count, given.channels}, order, as_bfloat16)};
            const TensorView views[kBatch] = {matrices[0].view, matrices[1].view};
            std::vector<Keypoints> found;
            CHECK(keypoints_from_rows(grids, 2, views, chosen, images.data(), kBatch, given.params, &found).ok());
            CHECK(equal(found, first));
        }
    }
}

void test_layouts() {
    std::mt19937 random(11);
    const std::int64_t sizes[][2] = {{1, 1}, {1, 7}, {5, 3}, {4, 16}};
    for (const auto& size : sizes) {
        for (const std::int64_t points : {1, 5, 17, 133}) {
            for (const std::int64_t dimensions : {2, 3}) {
                for (const BoxConvention convention : {BoxConvention::kV2, BoxConvention::kUltralytics}) {
                    const KeypointParams params{dimensions, 0.25f, convention};
                    check_case(Case{points * dimensions, size[0], size[1], params}, &random);
                }
            }
        }
    }
}

/// What fails leaves the results as they were; indices just beyond the anchors are not read from.
void test_refusals() {
    const Tensor head = laid_out(std::vector<float>(6 * 12, 1.0f), {1, 6, 3, 4}, {0, 1, 2, 3}, false);
    const KeypointLevel level{head.view, 8};
    const AnchorGrid grid{3, 4, 8};
    const Tensor rows = laid_out(std::vector<float>(2 * 6, 1.0f), {2, 6}, {0, 1}, false);
    const std::vector<ImageTarget> images = targets();
    std::vector<Keypoints> results(5);
    const auto refused = [&](const Status& status) {
        return status.code() == StatusCode::kInvalidArgument && results.size() == 5;
    };
    const std::int32_t extreme[] = {-1, 12, std::numeric_limits<std::int32_t>::min(),
                                    std::numeric_limits<std::int32_t>::max()};
    for (const std::int32_t index : extreme) {
        const std::int32_t indices[] = {11, index};
        const ChosenAnchors chosen{indices, 2};
        CHECK(refused(keypoints_from_heads(&level, 1, &chosen, images.data(), 1, KeypointParams(), &results)));
        CHECK(
            refused(keypoints_from_rows(&grid, 1, &rows.view, &chosen, images.data(), 1, KeypointParams(), &results)));
    }
    const std::int32_t indices[] = {11, 0, 3};
    for (const std::int64_t count : {std::int64_t{-1}, std::int64_t{1} << 31U, INT64_MAX}) {
        const ChosenAnchors chosen{indices, count};
        CHECK(refused(keypoints_from_heads(&level, 1, &chosen, images.data(), 1, KeypointParams(), &results)));
        CHECK(
            refused(keypoints_from_rows(&grid, 1, &rows.view, &chosen, images.data(), 1, KeypointParams(), &results)));
    }
    const ChosenAnchors three{indices, 3};
    CHECK(refused(keypoints_from_rows(&grid, 1, &rows.view, &three, images.data(), 1, KeypointParams(), &results)));
    const ChosenAnchors nowhere{nullptr, 1};
    CHECK(refused(keypoints_from_heads(&level, 1, &nowhere, images.data(), 1, KeypointParams(), &results)));
    const ChosenAnchors none{nullptr, 0};
    CHECK(refused(keypoints_from_heads(&level, 1, &none, images.data(), 2, KeypointParams(), &results)));
    CHECK(refused(keypoints_from_heads(&level, 0, &none, images.data(), 1, KeypointParams(), &results)));
    CHECK(keypoints_from_heads(&level, 1, &none, images.data(), 1, KeypointParams(), &results).ok());
    CHECK(results.size() == 1 && results[0].points.empty() && results[0].keypoint_count == 2);
}

}  // namespace

int main() {
    test_layouts();
    test_refusals();
    return 0;
}
