#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "device_heads.h"

// One case of detection, on the host and on the device.

using namespace rfkernels;

struct Case {
    std::string name;
    std::vector<AnchorGrid> grids;  ///< empty: an output that is decoded already
    std::int64_t decoded_anchors = 0;
    std::int64_t batch = 1;
    std::int64_t class_count = 3;
    std::int64_t reg_max = 16;
    DataType dtype = DataType::kFloat32;
    Layout layout = Layout::kPlanes;
    enum class Numbers { kScene, kNoise, kTies, kEqual, kAnything } numbers = Numbers::kNoise;
    float confidence = 0.4f;
    bool class_thresholds = false;
    bool filters = false;
    ClassFilterStage stage = ClassFilterStage::kAfterCut;
    BoxConvention convention = BoxConvention::kV2;
    double iou = 0.45;
    bool agnostic = false;
    std::int64_t max_detections = 300;
    std::int64_t room = 300;
};

inline std::mt19937 random_of(const Case& tested) {
    return std::mt19937(static_cast<std::uint32_t>(std::hash<std::string>()(tested.name)));
}

/// Classes, or scores, of one level.
inline void fill_classes(HeadTensor* tensor, std::int64_t first_channel, const Case& tested, std::mt19937* random) {
    const bool is_scene = tested.numbers == Case::Numbers::kScene;
    std::normal_distribution<float> normal(is_scene ? -7.0f : -1.0f, is_scene ? 0.8f : 2.0f);
    const bool is_decoded = tested.grids.empty();
    const auto number = [&] {
        float value = normal(*random);
        if (tested.numbers == Case::Numbers::kTies) value = std::min(std::round(value), 2.0f);
        if (tested.numbers == Case::Numbers::kEqual) value = 1.0f;
        if (tested.numbers == Case::Numbers::kAnything) {
            const float special[] = {NAN, -NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-40f, 3e38f};
            const std::uint32_t choice = (*random)() % 32;
            if (choice < 8) value = special[choice];
        }
        return is_decoded && std::isfinite(value) ? sigmoid(value) : value;
    };
    for (std::int64_t n = 0; n < tested.batch; ++n) {
        for (std::int64_t c = first_channel; c < tensor->channels(); ++c) {
            for (std::int64_t a = 0; a < tensor->anchors(); ++a) tensor->at(n, c, a) = number();
        }
        if (!is_scene) continue;
        // Objects: a few neighbouring anchors in each of two rows are sure of a class.
        const std::int64_t columns = tensor->shape.back();
        for (std::int64_t object = 0; object < tensor->anchors() / 210 + 1; ++object) {
            const std::int64_t anchor =
                static_cast<std::int64_t>((*random)() % static_cast<std::uint32_t>(tensor->anchors() - columns - 3));
            const std::int64_t c = first_channel + static_cast<std::int64_t>((*random)() % 5);
            for (const std::int64_t step : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, columns, columns + 1}) {
                const float value = 0.5f + static_cast<float>((*random)() % 1000) / 500.0f;
                tensor->at(n, c, anchor + step) = is_decoded ? sigmoid(value) : value;
            }
        }
    }
    tensor->cut();
}

inline void fill_boxes(HeadTensor* tensor, std::int64_t channels, const Case& tested, std::mt19937* random) {
    std::normal_distribution<float> normal(0.0f, tested.reg_max == 1 ? 3.0f : 1.5f);
    std::uniform_real_distribution<float> place(0.0f, 640.0f);
    for (std::int64_t n = 0; n < tested.batch; ++n) {
        for (std::int64_t c = 0; c < channels; ++c) {
            for (std::int64_t a = 0; a < tensor->anchors(); ++a) {
                float value = tested.grids.empty() ? (c < 2 ? place(*random) : place(*random) / 4.0f) : normal(*random);
                if (tested.numbers == Case::Numbers::kAnything && (*random)() % 200 == 0) {
                    value = (*random)() % 2 == 0 ? NAN : INFINITY;
                }
                tensor->at(n, c, a) = value;
            }
        }
    }
    tensor->cut();
}

inline std::vector<ImageTarget> targets(std::int64_t count, std::mt19937* random) {
    std::vector<ImageTarget> result(static_cast<std::size_t>(count));
    for (ImageTarget& target : result) {
        target.placement.left = static_cast<std::int64_t>((*random)() % 40) - 10;
        target.placement.top = static_cast<std::int64_t>((*random)() % 40) - 10;
        target.placement.crop.x = static_cast<std::int64_t>((*random)() % 9);
        target.placement.scale_x = 0.3 + 0.01 * static_cast<double>((*random)() % 100);
        target.placement.scale_y = 0.3 + 0.01 * static_cast<double>((*random)() % 100);
        target.image_width = 200 + static_cast<std::int64_t>((*random)() % 900);
        target.image_height = 200 + static_cast<std::int64_t>((*random)() % 900);
    }
    return result;
}

/// What a case is made of, on the host and on the device.
class Bench {
  public:
    explicit Bench(const Case& given) : tested(given), device(tested_device()) {
        CHECK(device->create_stream(&stream).ok());
        std::mt19937 random = random_of(tested);
        images = targets(tested.batch, &random);
        params.confidence = tested.confidence;
        if (tested.class_thresholds) {
            for (std::int64_t c = 0; c < tested.class_count; ++c) {
                thresholds.push_back(static_cast<float>(random() % 1000) / 1000.0f);
            }
            params.class_confidences = thresholds.data();
            params.class_confidence_count = tested.class_count;
        }
        if (tested.filters) {
            for (std::int64_t c = 0; c < tested.class_count; ++c) wanted.push_back(c % 3 != 1 ? 1 : 0);
            params.wanted_classes = wanted.data();
            params.wanted_class_count = tested.class_count;
        }
        params.class_filter_stage = tested.stage;
        params.box_convention = tested.convention;
        params.suppression = {tested.iou, tested.agnostic, tested.max_detections};
        for (const AnchorGrid& grid : tested.grids) {
            anchor_count += grid.rows * grid.columns;
            classes.push_back(
                HeadTensor({tested.batch, tested.class_count, grid.rows, grid.columns}, tested.dtype, tested.layout));
            boxes.push_back(
                HeadTensor({tested.batch, 4 * tested.reg_max, grid.rows, grid.columns}, tested.dtype, tested.layout));
            fill_classes(&classes.back(), 0, tested, &random);
            fill_boxes(&boxes.back(), boxes.back().channels(), tested, &random);
        }
        if (tested.grids.empty()) {
            anchor_count = tested.decoded_anchors;
            classes.push_back(HeadTensor({tested.batch, 4 + tested.class_count, tested.decoded_anchors}, tested.dtype,
                                         tested.layout));
            fill_classes(&classes.back(), 4, tested, &random);
            fill_boxes(&classes.back(), 4, tested, &random);
        }
        for (std::size_t i = 0; i < classes.size(); ++i) {
            const std::int64_t stride = tested.grids.empty() ? 1 : tested.grids[i].stride;
            if (!tested.grids.empty()) {
                host_levels.push_back({boxes[i].on_host(), classes[i].on_host(), stride});
                device_levels.push_back({boxes[i].on_device(*device, stream, "box bins"), {}, stride});
            } else {
                device_levels.push_back({});
            }
            device_levels.back().classes = classes[i].on_device(*device, stream, "class logits");
        }
        results = std::make_unique<ResultsOnDevice>(*device, tested.batch, tested.room);
        const std::size_t bytes = detection_scratch_bytes(tested.batch, anchor_count, tested.room);
        scratch = std::make_unique<OnDevice>(*device, bytes, "scratch");
        // No more than is asked for: nobody may read the rest before it is written.
        CHECK(device->fill(scratch->get(), 0, static_cast<std::size_t>(8 * tested.batch), stream).ok());
        descriptors = std::make_unique<OnDevice>(*device, detection_descriptor_bytes(tested.batch, tested.class_count),
                                                 "descriptors");
        describe();
    }
    ~Bench() {
        results.reset();
        scratch.reset();
        descriptors.reset();
        CHECK(device->destroy_stream(stream).ok());
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    void describe() {
        struct alignas(16) Word {
            char bytes[16];
        };
        std::vector<Word> host(descriptors->bytes() / 16);
        CHECK(describe_detection(images.data(), tested.batch, tested.class_count, params, host.data(),
                                 descriptors->bytes())
                  .ok());
        descriptors->upload(host.data(), descriptors->bytes(), stream);
    }

    std::vector<Detections> expected() {
        std::vector<Detections> wanted_results;
        const Status status =
            tested.grids.empty()
                ? detect_from_decoded(classes[0].on_host(), images.data(), tested.batch, params, &wanted_results)
                : detect_from_heads(host_levels.data(), static_cast<std::int64_t>(host_levels.size()), images.data(),
                                    tested.batch, params, &wanted_results);
        if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
        CHECK(status.ok());
        return wanted_results;
    }

    Status launch() {
        if (tested.grids.empty()) {
            return detect_from_decoded_on_device(*device, device_levels[0].classes, descriptors->get(), results->view,
                                                 scratch->get(), stream);
        }
        return detect_from_heads_on_device(*device, device_levels.data(),
                                           static_cast<std::int64_t>(device_levels.size()), descriptors->get(),
                                           results->view, scratch->get(), stream);
    }

    void check(const std::vector<Detections>& wanted_results, const char* how) {
        const Status status = device->synchronize(stream);
        check_no_findings((tested.name + ", " + how).c_str());
        CHECK(status.ok());
        for (std::int64_t image = 0; image < tested.batch; ++image) {
            const bool same = results->equal(image, wanted_results[static_cast<std::size_t>(image)], stream);
            if (!same) std::fprintf(stderr, "%s, %s: image %d differs\n", tested.name.c_str(), how, int(image));
            CHECK(same);
        }
    }

    Case tested;
    std::shared_ptr<Device> device;
    Stream stream = nullptr;
    DetectionParams params;
    std::vector<float> thresholds;
    std::vector<std::uint8_t> wanted;
    std::vector<ImageTarget> images;
    std::int64_t anchor_count = 0;
    std::vector<HeadTensor> classes;
    std::vector<HeadTensor> boxes;
    std::vector<HeadLevel> host_levels;
    std::vector<HeadLevel> device_levels;
    std::unique_ptr<ResultsOnDevice> results;
    std::unique_ptr<OnDevice> scratch;
    std::unique_ptr<OnDevice> descriptors;
};
