// No C++ exception leaves an op: whichever allocation fails, and if none succeeds after it, a status says so.

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "check.h"
#include "rfkernels/connected_components.h"
#include "rfkernels/detection.h"
#include "rfkernels/instruction_set.h"
#include "rfkernels/keypoints.h"
#include "rfkernels/masks.h"
#include "rfkernels/neighbourhoods.h"
#include "rfkernels/preprocess.h"

namespace {

// How many allocations succeed before `failures` of them do not.
std::int64_t successes = -1;
std::int64_t failures = 0;

bool is_refused() {
    if (successes < 0) return false;
    if (successes > 0) {
        --successes;
        return false;
    }
    if (failures == 0) return false;
    --failures;
    return true;
}

}  // namespace

void* operator new(std::size_t size) {
    void* memory = is_refused() ? nullptr : std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void* operator new[](std::size_t size) {
    return operator new(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace {

using rfkernels::Status;
using rfkernels::StatusCode;

/// Fails the call's first allocation, its second, and so on, alone or with all that follow, until none is left to fail.
void check_every_allocation(const std::function<Status()>& call, StatusCode expected) {
    for (std::int64_t how_many : {std::int64_t{1}, std::int64_t{1} << 40}) {
        bool was_refused = true;
        int refusals = 0;
        for (std::int64_t first = 0; was_refused; ++first) {
            failures = how_many;
            successes = first;
            Status status = call();
            was_refused = failures != how_many;
            successes = -1;
            CHECK(status.code() == (was_refused ? StatusCode::kOutOfMemory : expected));
            CHECK(std::string(status.message()).empty() == (status.code() == StatusCode::kOk));
            refusals += was_refused ? 1 : 0;
        }
        CHECK(refusals > 0);
    }
}

rfkernels::TensorView view_of(float* data, std::vector<std::int64_t> shape) {
    rfkernels::TensorView view;
    view.data = data;
    view.rank = static_cast<int>(shape.size());
    std::int64_t stride = sizeof(float);
    for (int axis = view.rank - 1; axis >= 0; --axis) {
        view.shape[axis] = shape[axis];
        view.strides[axis] = stride;
        stride *= shape[axis];
    }
    return view;
}

void check_detection() {
    std::vector<float> bins(64 * 16, 0.5F);
    std::vector<float> logits(3 * 16, 1.0F);
    std::vector<float> decoded(7 * 16, 0.9F);
    const rfkernels::HeadLevel level{view_of(bins.data(), {1, 64, 4, 4}), view_of(logits.data(), {1, 3, 4, 4}), 8};
    rfkernels::ImageTarget image;
    image.image_width = image.image_height = 32;
    rfkernels::DetectionParams params;
    rfkernels::DetectionParams wrong;
    wrong.confidence = 2.0F;
    std::vector<rfkernels::Detections> found;
    std::vector<rfkernels::Candidates> candidates;
    const rfkernels::TensorView prediction = view_of(decoded.data(), {1, 7, 16});
    const auto from_heads = [&](const rfkernels::DetectionParams& with) {
        return rfkernels::detect_from_heads(&level, 1, &image, 1, with, &found);
    };
    check_every_allocation([&] { return from_heads(params); }, StatusCode::kOk);
    check_every_allocation([&] { return from_heads(wrong); }, StatusCode::kInvalidArgument);
    check_every_allocation([&] { return rfkernels::detect_from_decoded(prediction, &image, 1, params, &found); },
                           StatusCode::kOk);
    check_every_allocation([&] { return rfkernels::select_candidates(&level.classes, 1, params, &candidates); },
                           StatusCode::kOk);

    const std::int32_t anchors[2] = {3, 9};
    const float scores[2] = {0.9F, 0.8F};
    const std::int32_t classes[2] = {0, 2};
    const rfkernels::AnchorGrid grid{4, 4, 8};
    rfkernels::TensorView rows = view_of(bins.data(), {2, 64});
    const rfkernels::CandidateBoxes boxes{anchors, scores, classes, 2, &rows};
    check_every_allocation(
        [&] { return rfkernels::detect_from_candidates(&grid, 1, &boxes, &image, 1, params, &found); },
        StatusCode::kOk);

    // No candidate: then nothing is asked of the rows but that they may be rows of boxes.
    const rfkernels::CandidateBoxes none{anchors, scores, classes, 0, &rows};
    for (const std::int64_t channels : {std::int64_t{1} << 32, (std::int64_t{1} << 62), INT64_MAX - 3}) {
        rows.shape[1] = channels;
        const Status status = rfkernels::detect_from_candidates(&grid, 1, &none, &image, 1, params, &found);
        CHECK(status.code() == StatusCode::kInvalidArgument);
    }
}

void check_keypoints() {
    std::vector<float> values(6 * 16, 0.5F);
    const rfkernels::KeypointLevel level{view_of(values.data(), {1, 6, 4, 4}), 8};
    const rfkernels::AnchorGrid grid{4, 4, 8};
    const rfkernels::TensorView rows = view_of(values.data(), {2, 6});
    rfkernels::ImageTarget image;
    image.image_width = image.image_height = 32;
    const std::int32_t indices[2] = {15, 3};
    const std::int32_t wrong[2] = {15, 16};
    const rfkernels::KeypointParams params;
    std::vector<rfkernels::Keypoints> found;
    for (const std::int32_t* given : {indices, wrong}) {
        const rfkernels::ChosenAnchors chosen{given, 2};
        const StatusCode expected = given == indices ? StatusCode::kOk : StatusCode::kInvalidArgument;
        check_every_allocation(
            [&] { return rfkernels::keypoints_from_heads(&level, 1, &chosen, &image, 1, params, &found); }, expected);
        check_every_allocation(
            [&] { return rfkernels::keypoints_from_rows(&grid, 1, &rows, &chosen, &image, 1, params, &found); },
            expected);
    }
}

void check_neighbourhoods() {
    const std::int32_t pixels[3] = {3, 9, 20};
    const std::int32_t wrong[3] = {3, 9, 30};
    const std::int64_t counts[2] = {2, 1};
    std::int32_t outer[2][16 * 9];
    std::int32_t inner[2][2 * 9];
    const rfkernels::FeatureGrid grids[2] = {{4, 4, 0, 16}, {3, 3, 0, 9}};
    rfkernels::Neighbourhoods results[2] = {{outer[0], inner[0], 16, 2, 0, 0}, {outer[1], inner[1], 16, 2, 0, 0}};
    const auto write = [&](const std::int32_t* given) {
        return rfkernels::write_neighbourhoods(given, counts, grids, 2, rfkernels::RowCounts{}, results);
    };
    check_every_allocation([&] { return write(pixels); }, StatusCode::kOk);
    check_every_allocation([&] { return write(wrong); }, StatusCode::kInvalidArgument);
}

void check_masks() {
    rfkernels::MaskGridRequest request;
    CHECK(rfkernels::plan_stretch(rfkernels::whole_image(20, 30), {16, 32}, &request.placement).ok());
    request.image_height = 20;
    request.image_width = 30;
    request.network_height = 16;
    request.network_width = 32;
    request.prototype_height = 4;
    request.prototype_width = 8;
    rfkernels::MaskGrid grid;
    CHECK(rfkernels::plan_mask_grid(request, &grid).ok());
    rfkernels::MaskGridRequest wrong = request;
    wrong.image_width = 0;
    check_every_allocation([&] { return rfkernels::plan_mask_grid(wrong, &grid); }, StatusCode::kInvalidArgument);
    std::vector<float> values(2 * 4 * 8, 1.0F);
    const float coefficients[2] = {1.0F, 1.0F};
    const float box[4] = {0.0F, 0.0F, 20.0F, 12.0F};
    rfkernels::MaskSources sources{view_of(values.data(), {1, 2, 4, 8}), coefficients, box, 1};
    rfkernels::Polygons polygons;
    rfkernels::RunLengths lengths;
    std::vector<std::uint8_t> out(20 * 30);
    for (const auto choice : {rfkernels::ContourChoice::kAll, rfkernels::ContourChoice::kMostPoints}) {
        check_every_allocation([&] { return rfkernels::masks_to_polygons(sources, grid, choice, &polygons); },
                               StatusCode::kOk);
    }
    check_every_allocation([&] { return rfkernels::masks_to_run_lengths(sources, grid, &lengths); }, StatusCode::kOk);
    check_every_allocation([&] { return rfkernels::masks_to_bits(sources, grid, out.data()); }, StatusCode::kOk);
    check_every_allocation([&] { return rfkernels::masks_to_dense(sources, grid, out.data()); }, StatusCode::kOk);
    const rfkernels::DenseMask dense{out.data(), 20, 30, 30};
    check_every_allocation([&] { return rfkernels::encode_run_lengths(dense, &lengths); }, StatusCode::kOk);
    check_every_allocation([&] { return rfkernels::find_contours(dense, rfkernels::ContourChoice::kAll, &polygons); },
                           StatusCode::kOk);
    check_every_allocation([&] { return rfkernels::decode_run_lengths("damaged", 20, 30, out.data()); },
                           StatusCode::kInvalidArgument);
    sources.prototypes.shape[1] = 3;
    sources.prototypes.strides[2] = 4;
    check_every_allocation([&] { return rfkernels::masks_to_run_lengths(sources, grid, &lengths); },
                           StatusCode::kInvalidArgument);
}

void check_connected_components() {
    // The second mask has more runs than the first: memory is asked for again.
    const std::uint8_t masks[12] = {1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0};
    std::int32_t labels[12];
    std::int32_t areas[12];
    float logits[12];
    float out[12];
    for (int i = 0; i < 12; ++i) logits[i] = masks[i] != 0 ? 1.0F : -1.0F;
    const auto label = [&](std::int64_t height) {
        return rfkernels::connected_components(masks, {2, height, 3}, labels, areas);
    };
    const auto clean = [&](std::int64_t max_area) {
        return rfkernels::clean_mask_logits(logits, {2, 2, 3}, {max_area, max_area, 0.0F}, out);
    };
    check_every_allocation([&] { return label(2); }, StatusCode::kOk);
    check_every_allocation([&] { return label(0); }, StatusCode::kInvalidArgument);
    check_every_allocation([&] { return clean(2); }, StatusCode::kOk);
    check_every_allocation([&] { return clean(-1); }, StatusCode::kInvalidArgument);
}

void check_suppression() {
    const float boxes[8] = {0.0F, 0.0F, 10.0F, 10.0F, 20.0F, 20.0F, 30.0F, 30.0F};
    const float scores[2] = {0.5F, 0.6F};
    rfkernels::Kept kept;
    rfkernels::SuppressionParams params;
    check_every_allocation([&] { return rfkernels::nms(boxes, scores, nullptr, 2, params, &kept); }, StatusCode::kOk);
    params.max_detections = -1;
    check_every_allocation([&] { return rfkernels::nms(boxes, scores, nullptr, 2, params, &kept); },
                           StatusCode::kInvalidArgument);
}

void check_preprocess() {
    std::vector<std::uint8_t> pixels(9 * 7 * 3, 100);
    std::vector<std::uint8_t> result(9 * 7 * 3);
    rfkernels::ImageView image{pixels.data(), 9, 7, 3, 21};
    std::vector<float> input(3 * 16 * 16);
    const rfkernels::TensorView destination = view_of(input.data(), {1, 3, 16, 16});
    rfkernels::Placement placement;
    CHECK(rfkernels::plan_stretch(rfkernels::whole_image(9, 7), {16, 16}, &placement).ok());
    rfkernels::Placement outside = placement;
    outside.crop.x = 5;
    check_every_allocation([&] { return rfkernels::preprocess(&image, &outside, 1, {}, destination, nullptr); },
                           StatusCode::kInvalidArgument);
    rfkernels::TensorView picture;
    picture.data = result.data();
    picture.dtype = rfkernels::DataType::kUint8;
    picture.rank = 3;
    picture.shape = {9, 7, 3};
    picture.strides = {21, 3, 1};
    check_every_allocation(
        [&] { return rfkernels::contrast(image, rfkernels::Contrast::kAdaptiveEqualization, picture); },
        StatusCode::kOk);
    picture.shape[0] = 8;
    check_every_allocation([&] { return rfkernels::grayscale(image, false, picture); }, StatusCode::kInvalidArgument);
    check_every_allocation(
        [&] {
            return rfkernels::plan_letterbox(rfkernels::whole_image(0, 7), {16, 16}, rfkernels::SizeRounding::kTruncate,
                                             &placement);
        },
        StatusCode::kInvalidArgument);
    const std::string unknown = "an instruction set of no machine";
    check_every_allocation([&] { return rfkernels::force_instruction_set(unknown); }, StatusCode::kUnavailable);
}

}  // namespace

int main() {
    check_detection();
    check_keypoints();
    check_neighbourhoods();
    check_masks();
    check_connected_components();
    check_suppression();
    check_preprocess();
    return 0;
}
