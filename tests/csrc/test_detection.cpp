#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ops/detection/detection_arithmetic.h"
#include "ops/detection/kernels.h"
#include "rfkernels/detection.h"
#include "rfkernels/instruction_set.h"

// What the sanitizers are to see: every instruction set, both layouts, sizes that fill no vector, buffers that end
// where the tensor does. Values are compared with the NumPy definition in tests/ops/test_detection.py.

namespace {

using namespace rfkernels;

struct Tensor {
    std::vector<float> values;  // exactly as long as the tensor: one element further is a finding
    std::vector<std::uint16_t> halves;
    TensorView view;
};

/// The values cut to bfloat16: as bfloat16 itself, or still as float32, which must be the same to every op.
Tensor cut(Tensor tensor, bool as_bfloat16) {
    for (float& value : tensor.values) {
        const std::uint32_t bits = bits_as<std::uint32_t>(value) & 0xFFFF0000U;
        value = bits_as<float>(bits);
        tensor.halves.push_back(static_cast<std::uint16_t>(bits >> 16U));
    }
    tensor.halves.shrink_to_fit();
    tensor.view.data = tensor.values.data();
    if (as_bfloat16) {
        tensor.view.data = tensor.halves.data();
        tensor.view.dtype = DataType::kBfloat16;
        for (std::int64_t& stride : tensor.view.strides) stride /= 2;
    }
    return tensor;
}

// [batch, channels, height, width], anchor by anchor in memory where `channels_last`.
Tensor random_tensor(std::mt19937* random, std::int64_t batch, std::int64_t channels, std::int64_t height,
                     std::int64_t width, bool channels_last) {
    Tensor tensor;
    std::normal_distribution<float> normal(-1.0f, 2.0f);
    tensor.values.resize(static_cast<std::size_t>(batch * channels * height * width));
    for (std::int64_t n = 0; n < batch; ++n) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
            for (std::int64_t anchor = 0; anchor < height * width; ++anchor) {
                const std::int64_t at = channels_last ? anchor * channels + channel : channel * height * width + anchor;
                tensor.values[static_cast<std::size_t>(n * channels * height * width + at)] = normal(*random);
            }
        }
    }
    const std::int64_t element = sizeof(float);
    tensor.view.data = tensor.values.data();
    tensor.view.rank = 4;
    tensor.view.shape = {batch, channels, height, width};
    tensor.view.strides = {channels * height * width * element, height * width * element, width * element, element};
    if (channels_last) {
        tensor.view.strides = {channels * height * width * element, element, width * channels * element,
                               channels * element};
    }
    return tensor;
}

std::vector<ImageTarget> targets(std::int64_t count) {
    ImageTarget target;
    target.placement.left = 3;
    target.placement.top = -2;
    target.placement.scale_x = 0.5;
    target.placement.scale_y = 0.75;
    target.image_width = 123;
    target.image_height = 77;
    return std::vector<ImageTarget>(static_cast<std::size_t>(count), target);
}

bool equal(const std::vector<Detections>& a, const std::vector<Detections>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].boxes != b[i].boxes || a[i].network_boxes != b[i].network_boxes || a[i].scores != b[i].scores ||
            a[i].class_ids != b[i].class_ids || a[i].anchor_indices != b[i].anchor_indices ||
            a[i].overflowed != b[i].overflowed) {
            return false;
        }
    }
    return true;
}

std::vector<Detections> detect(std::int64_t class_count, std::int64_t height, std::int64_t width, bool channels_last,
                               bool as_bfloat16) {
    std::mt19937 random(7);
    const std::int64_t batch = 2;
    const auto make = [&](std::int64_t channels, std::int64_t rows, std::int64_t columns) {
        return cut(random_tensor(&random, batch, channels, rows, columns, channels_last), as_bfloat16);
    };
    const Tensor box = make(64, height, width);
    const Tensor classes = make(class_count, height, width);
    const Tensor coarse_box = make(64, 1, 3);
    const Tensor coarse_classes = make(class_count, 1, 3);
    const HeadLevel levels[] = {{box.view, classes.view, 8}, {coarse_box.view, coarse_classes.view, 32}};
    const std::vector<ImageTarget> images = targets(batch);
    std::vector<Detections> results;
    CHECK(detect_from_heads(levels, 2, images.data(), batch, DetectionParams(), &results).ok());
    return results;
}

void test_heads() {
    const std::int64_t class_counts[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 80};
    const std::int64_t sizes[][2] = {{1, 1}, {1, 7}, {5, 3}, {4, 16}, {33, 41}};
    for (const std::int64_t class_count : class_counts) {
        for (const auto& size : sizes) {
            std::vector<Detections> first;
            for (const InstructionSet instruction_set : supported_instruction_sets()) {
                CHECK(force_instruction_set(name_of(instruction_set)).ok());
                const std::vector<Detections> planes = detect(class_count, size[0], size[1], false, false);
                if (first.empty()) first = planes;
                CHECK(equal(planes, first));
                CHECK(equal(detect(class_count, size[0], size[1], true, false), first));
                CHECK(equal(detect(class_count, size[0], size[1], false, true), first));
                CHECK(equal(detect(class_count, size[0], size[1], true, true), first));
            }
        }
    }
    CHECK(force_instruction_set("auto").ok());
}

/// The kernel alone, by its definition, on logits where the classes of an anchor are contiguous, and those of the next
/// begin `anchor_step` further. Most logits are far below the gate, some about it, some anything, NaN among them.
void check_selection(float gate, std::int64_t class_count, std::int64_t anchor_step, std::mt19937* random) {
    const std::int64_t anchor_count = 37;
    const auto bits_of = [](float value) { return bits_as<std::uint32_t>(value) >> 16U; };
    const std::size_t size = static_cast<std::size_t>((anchor_count - 1) * anchor_step + class_count);
    std::vector<std::uint16_t> halves(size);
    std::vector<float> values(size);
    for (std::size_t i = 0; i < size; ++i) {
        const std::uint32_t near = bits_of(gate) + (*random)() % 5 - 2;
        const std::uint32_t below = bits_of(-3e38f) + (*random)() % 2;
        const std::uint32_t choice = (*random)() % 64;
        const std::uint32_t bits = choice == 0 ? (*random)() : choice == 1 ? near : below;
        const bool is_between = static_cast<std::int64_t>(i) % anchor_step >= class_count;
        halves[i] = static_cast<std::uint16_t>(is_between ? below : bits);
        values[i] = from_bfloat16(halves[i]);
    }
    DetectionKernels kernels;
    CHECK(detection_kernels(&kernels).ok());
    SelectedAnchors wide;
    SelectedAnchors narrow;
    kernels.select_candidates({values.data(), DataType::kFloat32, 1, anchor_step, class_count}, 0,
                              static_cast<int>(anchor_count), gate, &wide);
    kernels.select_candidates({halves.data(), DataType::kBfloat16, 1, anchor_step, class_count}, 0,
                              static_cast<int>(anchor_count), gate, &narrow);
    int next = 0;
    for (std::int64_t anchor = 0; anchor < anchor_count; ++anchor) {
        const float* logits = values.data() + anchor * anchor_step;
        float greatest = -INFINITY;
        for (std::int64_t c = 0; c < class_count; ++c) greatest = logits[c] > greatest ? logits[c] : greatest;
        if (!(greatest > gate)) continue;
        const auto first = std::find(logits, logits + class_count, greatest) - logits;
        for (const SelectedAnchors* found : {&wide, &narrow}) {
            CHECK(next < found->count && found->anchors[next] == anchor && found->classes[next] == first &&
                  found->values[next] == greatest);
        }
        ++next;
    }
    CHECK(wide.count == next && narrow.count == next);
}

void test_selection() {
    std::mt19937 random(21);
    for (const InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        for (const float gate : {0.0f, -0.0f, 1.5f, -1.5f, -0.405f, 1e-38f, -3e38f, INFINITY, -INFINITY}) {
            for (std::int64_t class_count = 1; class_count <= 70; ++class_count) {
                check_selection(gate, class_count, class_count, &random);
                check_selection(gate, class_count, class_count + 64, &random);
            }
        }
    }
    CHECK(force_instruction_set("auto").ok());
}

/// The bins of an image's candidates at one level, a row each and nothing behind the last.
Tensor rows_of(const Tensor& box, std::int64_t image, const std::int32_t* anchors, std::int64_t count,
               std::int64_t first_anchor) {
    Tensor rows;
    const std::int64_t channels = box.view.shape[1];
    const std::int64_t anchor_count = box.view.shape[2] * box.view.shape[3];
    for (std::int64_t k = 0; k < count; ++k) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
            const std::int64_t at = (image * channels + channel) * anchor_count + anchors[k] - first_anchor;
            rows.values.push_back(box.values[static_cast<std::size_t>(at)]);
        }
    }
    rows.values.shrink_to_fit();
    rows.view.data = rows.values.data();
    rows.view.rank = 2;
    rows.view.shape = {count, channels};
    rows.view.strides = {channels * 4, 4};
    return rows;
}

void test_two_steps() {
    std::mt19937 random(12);
    const std::int64_t batch = 2;
    const Tensor fine_box = random_tensor(&random, batch, 64, 5, 7, false);
    const Tensor fine_classes = random_tensor(&random, batch, 3, 5, 7, false);
    const Tensor coarse_box = random_tensor(&random, batch, 64, 1, 3, false);
    const Tensor coarse_classes = random_tensor(&random, batch, 3, 1, 3, false);
    const HeadLevel levels[] = {{fine_box.view, fine_classes.view, 8}, {coarse_box.view, coarse_classes.view, 32}};
    const TensorView classes[] = {fine_classes.view, coarse_classes.view};
    const AnchorGrid grids[] = {{5, 7, 8}, {1, 3, 32}};
    const std::vector<ImageTarget> images = targets(batch);
    for (const InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        for (const float confidence : {0.0f, 0.4f, 1.0f}) {
            DetectionParams params;
            params.confidence = confidence;
            std::vector<Detections> expected;
            CHECK(detect_from_heads(levels, 2, images.data(), batch, params, &expected).ok());
            std::vector<Candidates> candidates;
            CHECK(select_candidates(classes, 2, params, &candidates).ok());
            CHECK(candidates.size() == 2);
            std::vector<Tensor> rows;
            for (std::int64_t image = 0; image < batch; ++image) {
                const Candidates& found = candidates[static_cast<std::size_t>(image)];
                const std::int32_t* anchors = found.anchor_indices.data();
                const std::int64_t fine = found.level_counts[0];
                rows.push_back(rows_of(fine_box, image, anchors, fine, 0));
                rows.push_back(rows_of(coarse_box, image, anchors + fine, found.level_counts[1], 35));
            }
            std::vector<TensorView> views;
            for (const Tensor& tensor : rows) views.push_back(tensor.view);
            std::vector<CandidateBoxes> boxes;
            for (std::size_t image = 0; image < candidates.size(); ++image) {
                const Candidates& found = candidates[image];
                boxes.push_back({found.anchor_indices.data(), found.scores.data(), found.class_ids.data(),
                                 static_cast<std::int64_t>(found.scores.size()), views.data() + 2 * image});
            }
            std::vector<Detections> results;
            CHECK(detect_from_candidates(grids, 2, boxes.data(), images.data(), batch, params, &results).ok());
            CHECK(equal(results, expected));
            if (confidence == 0.4f) CHECK(!results[0].scores.empty() && !results[1].scores.empty());

            std::vector<Detections> untouched(3);
            views[0].rank = 1000;  // more axes than a view has room for
            CHECK(detect_from_candidates(grids, 2, boxes.data(), images.data(), batch, params, &untouched).code() ==
                  StatusCode::kInvalidArgument);
            CHECK(untouched.size() == 3);
        }
    }
    CHECK(force_instruction_set("auto").ok());
    TensorView view = fine_classes.view;
    view.shape[2] = view.shape[3] = std::int64_t{1} << 40;  // 2^80 anchors, all at one place
    view.strides[2] = view.strides[3] = 0;
    std::vector<Candidates> found;
    CHECK(select_candidates(&view, 1, DetectionParams(), &found).code() == StatusCode::kInvalidArgument);
}

void test_decoded() {
    std::mt19937 random(8);
    Tensor tensor = random_tensor(&random, 1, 4 + 3, 1, 1031, false);
    tensor.values[5] = std::numeric_limits<float>::quiet_NaN();
    tensor.values[4 * 1031 + 6] = std::numeric_limits<float>::infinity();
    TensorView view = tensor.view;
    view.rank = 3;
    view.shape = {1, 7, 1031};
    view.strides = {7 * 1031 * 4, 1031 * 4, 4};
    const float thresholds[] = {0.5f, 0.0f, 1.0f};
    const std::uint8_t wanted[] = {1, 0, 1};
    DetectionParams params;
    params.class_confidences = thresholds;
    params.class_confidence_count = 3;
    params.wanted_classes = wanted;
    params.wanted_class_count = 3;
    const std::vector<ImageTarget> images = targets(1);
    std::vector<Detections> first;
    for (const InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        for (const ClassFilterStage stage : {ClassFilterStage::kBeforeSuppression, ClassFilterStage::kAfterCut}) {
            params.class_filter_stage = stage;
            std::vector<Detections> results;
            CHECK(detect_from_decoded(view, images.data(), 1, params, &results).ok());
            CHECK(results.size() == 1 && !results[0].scores.empty());
            for (const std::int32_t class_id : results[0].class_ids) CHECK(class_id != 1);
            if (stage != ClassFilterStage::kAfterCut) continue;
            if (first.empty()) first = results;
            CHECK(equal(results, first));
        }
    }
    CHECK(force_instruction_set("auto").ok());

    std::vector<Detections> untouched(3);
    params.wanted_class_count = 2;
    CHECK(detect_from_decoded(view, images.data(), 1, params, &untouched).code() == StatusCode::kInvalidArgument);
    CHECK(untouched.size() == 3);
}

void test_impossible_shapes() {
    std::mt19937 random(10);
    const Tensor tensor = random_tensor(&random, 1, 4, 1, 1, false);
    const std::vector<ImageTarget> images = targets(1);
    std::vector<Detections> results;
    HeadLevel level{tensor.view, tensor.view, 8};
    CHECK(detect_from_heads(&level, 1, images.data(), 1, DetectionParams(), &results).ok());
    level.box.rank = level.classes.rank = 1000;  // more axes than a view has room for
    CHECK(detect_from_heads(&level, 1, images.data(), 1, DetectionParams(), &results).code() ==
          StatusCode::kInvalidArgument);
    CHECK(detect_from_decoded(level.box, images.data(), 1, DetectionParams(), &results).code() ==
          StatusCode::kInvalidArgument);
    level.box = level.classes = tensor.view;
    for (TensorView* view : {&level.box, &level.classes}) {  // 2^80 anchors, all at one place
        view->shape[2] = view->shape[3] = std::int64_t{1} << 40;
        view->strides[2] = view->strides[3] = 0;
    }
    CHECK(detect_from_heads(&level, 1, images.data(), 1, DetectionParams(), &results).code() ==
          StatusCode::kInvalidArgument);
}

void test_nms() {
    std::mt19937 random(9);
    std::uniform_real_distribution<float> place(0.0f, 100.0f);
    const std::int64_t counts[] = {0, 1, 15, 16, 17, 255, 256, 3000};
    for (const std::int64_t count : counts) {
        std::vector<float> boxes(static_cast<std::size_t>(4 * count));
        std::vector<float> scores(static_cast<std::size_t>(count));
        std::vector<std::int32_t> class_ids(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < scores.size(); ++i) {
            for (int coordinate = 0; coordinate < 4; ++coordinate) boxes[4 * i + coordinate] = place(random);
            scores[i] = place(random);
            class_ids[i] = i % 3 == 0 ? std::numeric_limits<std::int32_t>::min() : static_cast<std::int32_t>(i % 7);
        }
        std::vector<std::int32_t> first;
        for (const InstructionSet instruction_set : supported_instruction_sets()) {
            CHECK(force_instruction_set(name_of(instruction_set)).ok());
            SuppressionParams params;
            params.max_detections = std::numeric_limits<std::int64_t>::max();
            Kept kept;
            CHECK(nms(boxes.data(), scores.data(), class_ids.data(), count, params, &kept).ok());
            CHECK(!kept.overflowed);
            if (first.empty()) first = kept.indices;
            CHECK(kept.indices == first);
            params.class_agnostic = true;
            params.max_detections = 5;
            CHECK(nms(boxes.data(), scores.data(), nullptr, count, params, &kept).ok());
            CHECK(kept.indices.size() <= 5);
        }
        CHECK(force_instruction_set("auto").ok());
    }
    const float box[] = {0.0f, 0.0f, 1.0f, std::numeric_limits<float>::quiet_NaN()};
    const float score[] = {0.5f};
    Kept kept;
    const Status refused = nms(box, score, nullptr, 1, SuppressionParams(), &kept);
    CHECK(refused.code() == StatusCode::kInvalidArgument);
    CHECK(std::string(refused.message()).find("boxes[0]") != std::string::npos);
}

std::int64_t ulps_apart(float a, float b) {
    return std::llabs(static_cast<std::int64_t>(bits_as<std::int32_t>(a)) - bits_as<std::int32_t>(b));
}

void test_arithmetic() {
    std::int64_t worst_exponential = 0;
    std::int64_t worst_sigmoid = 0;
    // Every 97th float from e^x being subnormal to overflow.
    for (std::uint32_t bits = 0; bits < 0x42D00000u; bits += 97) {
        for (const float x : {bits_as<float>(bits), -bits_as<float>(bits)}) {
            const float exact = static_cast<float>(std::exp(static_cast<double>(x)));
            worst_exponential = std::max(worst_exponential, ulps_apart(exponential<float, std::uint32_t>(x), exact));
            if (x < -88.0f) continue;  // the sigmoid is subnormal there, then 0
            const float exact_sigmoid = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x))));
            worst_sigmoid = std::max(worst_sigmoid, ulps_apart(sigmoid(x), exact_sigmoid));
        }
    }
    std::printf("exponential within %lld ulp, sigmoid within %lld ulp\n", static_cast<long long>(worst_exponential),
                static_cast<long long>(worst_sigmoid));
    CHECK(worst_exponential <= 1);
    CHECK(worst_sigmoid <= 2);
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK(sigmoid(infinity) == 1.0f && sigmoid(-infinity) == 0.0f);
    CHECK(std::isnan(sigmoid(std::numeric_limits<float>::quiet_NaN())));
    CHECK(std::isnan(sigmoid(-std::numeric_limits<float>::quiet_NaN())));
    CHECK(descending_key(1.0f) < descending_key(0.5f) && descending_key(0.0f) < descending_key(-0.5f));
    CHECK(descending_key(-0.5f) < descending_key(-1.0f) && descending_key(-0.0f) == descending_key(0.0f));
    CHECK(descending_key(infinity) < descending_key(1e38f) && descending_key(-1e38f) < descending_key(-infinity));
}

}  // namespace

int main() {
    test_arithmetic();
    test_heads();
    test_selection();
    test_two_steps();
    test_decoded();
    test_impossible_shapes();
    test_nms();
    return 0;
}
