// The CUDA kernel of keypoints, run on the emulated device: the same bits as the CPU op, under every schedule, nothing
// wrong found, no more moved than must be.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "device/arithmetic.h"
#include "device_bench.h"
#include "half.h"
#include "rfkernels/keypoints.h"
#include "schedules.h"

using namespace rfkernels;

namespace {

struct Level {
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t stride;
};

struct Case {
    Case(std::vector<Level> of, std::vector<std::int32_t> chosen) : levels(std::move(of)), counts(std::move(chosen)) {}
    std::vector<Level> levels;
    std::int64_t point_count = 17;
    KeypointParams params;
    DataType dtype = DataType::kFloat32;
    bool channels_last = false;
    std::int64_t capacity = 0;
    std::vector<std::int32_t> counts;  // one for each image

    std::int64_t batch() const { return static_cast<std::int64_t>(counts.size()); }
    std::int64_t channels() const { return point_count * params.dimensions; }
    std::int64_t anchor_count() const {
        std::int64_t count = 0;
        for (const Level& level : levels) count += level.rows * level.columns;
        return count;
    }
};

/// A number that every element type holds; now and then none that is finite.
float random_value(std::mt19937* random) {
    const std::uint32_t bits = (*random)();
    if (bits % 60 == 0) return std::numeric_limits<float>::quiet_NaN();
    if (bits % 60 == 1) return std::numeric_limits<float>::infinity();
    return static_cast<float>(bits / 64 % 129) / 8.0f - 8.0f;
}

/// A level's values [N, channels, rows, columns], in the memory of a device or of the host.
struct Tensor {
    std::vector<float> values;
    std::vector<unsigned char> elements;
    TensorView view;
};

Tensor make_tensor(const Case& tested, const Level& level, DataType dtype, bool channels_last,
                   const std::vector<float>& values) {
    Tensor tensor;
    const std::int64_t element = dtype == DataType::kFloat32 ? 4 : 2;
    const std::int64_t anchors = level.rows * level.columns;
    const std::int64_t channels = tested.channels();
    tensor.view.dtype = dtype;
    tensor.view.rank = 4;
    tensor.view.shape = {tested.batch(), channels, level.rows, level.columns};
    const std::int64_t anchor_step = channels_last ? channels : 1;
    const std::int64_t channel_step = channels_last ? 1 : anchors;
    tensor.view.strides = {channels * anchors * element, channel_step * element, level.columns * anchor_step * element,
                           anchor_step * element};
    tensor.elements.resize(values.size() * static_cast<std::size_t>(element));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::int64_t anchor = static_cast<std::int64_t>(i) % anchors;
        const std::int64_t channel = static_cast<std::int64_t>(i) / anchors % channels;
        const std::int64_t image = static_cast<std::int64_t>(i) / anchors / channels;
        const std::int64_t place = image * channels * anchors + channel * channel_step + anchor * anchor_step;
        unsigned char* address = tensor.elements.data() + place * element;
        const std::uint16_t half = dtype == DataType::kFloat16
                                       ? half_of(values[i])
                                       : static_cast<std::uint16_t>(bits_as<std::uint32_t>(values[i]) >> 16U);
        if (element == 4) {
            std::memcpy(address, &values[i], sizeof(float));
        } else {
            std::memcpy(address, &half, sizeof(half));
        }
    }
    return tensor;
}

ImageTarget target_of(std::int64_t image) {
    ImageTarget target;
    target.placement.left = 3 + image;
    target.placement.top = -2;
    target.placement.crop.x = 5 * image;
    target.placement.crop.y = 2;
    // Of the first image, positions just left of it are found, which round to -0.
    target.placement.scale_x = image == 0 ? 16.0 : 0.5 + 0.125 * static_cast<double>(image);
    target.placement.scale_y = 0.7;
    target.image_width = 123;
    target.image_height = 77;
    return target;
}

struct Outcome {
    std::vector<float> expected;
    std::vector<float> actual;
};

/// `described` is what the descriptors are written for, where it is not what the launch is given.
Outcome run_on_both(Device& device, const Case& tested, const KeypointParams* described = nullptr) {
    std::mt19937 random(5);
    std::vector<std::vector<float>> values;
    std::vector<Tensor> host_tensors;
    std::vector<Tensor> device_tensors;
    std::vector<std::unique_ptr<OnDevice>> lent;
    std::vector<KeypointLevel> host_levels;
    std::vector<KeypointLevel> device_levels;
    for (const Level& level : tested.levels) {
        std::vector<float> numbers(
            static_cast<std::size_t>(tested.batch() * tested.channels() * level.rows * level.columns));
        for (float& number : numbers) number = random_value(&random);
        host_tensors.push_back(make_tensor(tested, level, DataType::kFloat32, false, numbers));
        device_tensors.push_back(make_tensor(tested, level, tested.dtype, tested.channels_last, numbers));
        lent.push_back(std::make_unique<OnDevice>(device, device_tensors.back().elements.size(), "heads"));
        lent.back()->upload(device_tensors.back().elements.data(), device_tensors.back().elements.size(), nullptr);
        device_tensors.back().view.data = lent.back()->get();
        host_levels.push_back(KeypointLevel{host_tensors.back().view, level.stride});
        host_levels.back().keypoints.data = host_tensors.back().elements.data();
        device_levels.push_back(KeypointLevel{device_tensors.back().view, level.stride});
    }
    for (std::size_t i = 0; i < host_levels.size(); ++i) {
        host_levels[i].keypoints.data = host_tensors[i].elements.data();
    }

    // Rows beyond an image's count hold -1 or anchors that nobody chose; within it each row may be no anchor.
    const std::int64_t rows = tested.batch() * tested.capacity;
    std::vector<std::int32_t> indices(static_cast<std::size_t>(rows));
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t anchor = static_cast<std::int64_t>(random()) % tested.anchor_count();
        const std::int64_t row = i % tested.capacity;
        const bool is_chosen = row < tested.counts[static_cast<std::size_t>(i / tested.capacity)];
        indices[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(is_chosen || row % 2 == 0 ? anchor : -1);
    }
    const std::size_t row_values = static_cast<std::size_t>(tested.point_count * 3);
    Outcome outcome;
    outcome.expected.assign(static_cast<std::size_t>(rows) * row_values, 0.0f);
    std::vector<ImageTarget> images;
    std::vector<ChosenAnchors> chosen;
    for (std::int64_t image = 0; image < tested.batch(); ++image) {
        images.push_back(target_of(image));
        const std::int64_t count =
            std::min<std::int64_t>(tested.counts[static_cast<std::size_t>(image)], tested.capacity);
        chosen.push_back(ChosenAnchors{indices.data() + image * tested.capacity, std::max<std::int64_t>(0, count)});
    }
    std::vector<Keypoints> found;
    CHECK(keypoints_from_heads(host_levels.data(), static_cast<std::int64_t>(host_levels.size()), chosen.data(),
                               images.data(), tested.batch(), tested.params, &found)
              .ok());
    for (std::int64_t image = 0; image < tested.batch(); ++image) {
        const std::vector<float>& points = found[static_cast<std::size_t>(image)].points;
        float* const place = outcome.expected.data() + static_cast<std::size_t>(image * tested.capacity) * row_values;
        if (!points.empty()) std::memcpy(place, points.data(), points.size() * sizeof(float));
    }
    // What the host would refuse, the device shows as zeros.
    if (tested.capacity > 2 && tested.counts[0] > 2) {
        indices[1] = static_cast<std::int32_t>(tested.anchor_count());
        indices[2] = std::numeric_limits<std::int32_t>::min();
        std::fill_n(outcome.expected.begin() + static_cast<std::ptrdiff_t>(row_values), 2 * row_values, 0.0f);
    }

    const std::size_t descriptor_bytes = keypoint_descriptor_bytes(tested.batch());
    std::vector<max_align_t> descriptors(descriptor_bytes / sizeof(max_align_t) + 1);
    CHECK(describe_keypoints(images.data(), tested.batch(), described == nullptr ? tested.params : *described,
                             descriptors.data(), descriptor_bytes)
              .ok());
    OnDevice described_images(device, descriptor_bytes, "descriptors");
    OnDevice device_indices(device, indices.size() * sizeof(std::int32_t), "anchor_indices");
    OnDevice device_counts(device, tested.counts.size() * sizeof(std::int32_t), "counts");
    OnDevice points(device, outcome.expected.size() * sizeof(float), "points");
    described_images.upload(descriptors.data(), descriptor_bytes, nullptr);
    device_indices.upload(indices.data(), device_indices.bytes(), nullptr);
    device_counts.upload(tested.counts.data(), device_counts.bytes(), nullptr);
    const DeviceCounters before = device.counters();
    const Status status = keypoints_from_heads_on_device(
        device, device_levels.data(), static_cast<std::int64_t>(device_levels.size()), tested.params.dimensions,
        described_images.get(),
        DeviceChosenAnchors{device_indices.get<std::int32_t>(), device_counts.get<std::int32_t>(), tested.capacity},
        points.get<float>(), nullptr);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
    CHECK(status.ok());
    outcome.actual = points.download<float>(nullptr);
    CHECK(device.counters().kernel_launches - before.kernel_launches == 1);
    return outcome;
}

void check_equal(const std::string& what, const Outcome& outcome) {
    check_no_findings(what.c_str());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < outcome.expected.size(); ++i) {
        if (bits_as<std::uint32_t>(outcome.expected[i]) == bits_as<std::uint32_t>(outcome.actual[i])) continue;
        if (differing++ == 0) {
            std::fprintf(stderr, "%s: value %zu is %g, not %g\n", what.c_str(), i,
                         static_cast<double>(outcome.actual[i]), static_cast<double>(outcome.expected[i]));
        }
    }
    CHECK(differing == 0);
}

void test_awkward_sizes() {
    const std::vector<Level> one = {{1, 1, 8}};
    const std::vector<Level> three = {{7, 5, 8}, {3, 4, 16}, {1, 2, 32}};
    const std::vector<Level> eight = {{1, 1, 4}, {1, 3, 8}, {2, 1, 8}, {1, 1, 16},
                                      {2, 2, 3}, {5, 1, 1}, {1, 1, 7}, {1, 2, 9}};
    for (const Schedule& schedule : kSchedules) {
        for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
            for (const bool channels_last : {false, true}) {
                for (const std::int64_t dimensions : {2, 3}) {
                    Case tested(three, {19, 0, 40});  // more than there is room for, too
                    tested.dtype = dtype;
                    tested.channels_last = channels_last;
                    tested.params.dimensions = dimensions;
                    tested.params.confidence = 0.5f;
                    tested.params.convention = dimensions == 2 ? BoxConvention::kUltralytics : BoxConvention::kV2;
                    tested.capacity = 33;
                    emulation::Emulator::instance().options = schedule.options(3);
                    const auto device = tested_device();
                    check_equal(std::string("three levels, ") + schedule.name, run_on_both(*device, tested));
                }
            }
        }
        for (const std::int64_t point_count : {1, 5, 133}) {
            const std::int32_t capacity = point_count == 5 ? 256 : 3;
            Case tested(point_count == 5 ? eight : one, {capacity - 1, -1});
            tested.point_count = point_count;
            tested.params.convention = BoxConvention::kUltralytics;
            tested.capacity = capacity;
            emulation::Emulator::instance().options = schedule.options(3);
            const auto device = tested_device();
            check_equal(std::string("other levels, ") + schedule.name, run_on_both(*device, tested));
        }
    }
}

/// 100 of 300 anchors of a 640 x 640 picture: the chosen values and all results, no more.
void test_full_size() {
    emulation::Emulator& emulator = emulation::Emulator::instance();
    for (const bool channels_last : {false, true}) {
        Case tested({{80, 80, 8}, {40, 40, 16}, {20, 20, 32}}, {100});
        tested.channels_last = channels_last;
        tested.capacity = 300;
        emulator.options = kSchedules[2].options(5);
        emulator.options.count_traffic = true;
        emulator.keep_records = true;
        emulator.records.clear();
        const auto device = tested_device();
        check_equal("full size", run_on_both(*device, tested));
        emulator.keep_records = false;
        if (!counts_traffic()) return;
        const emulation::Traffic& traffic = emulator.records.at(0).traffic;
        const double values = 100.0 * 51.0;
        const double results = 300.0 * 51.0 * 4.0;
        // Channel by channel a value costs a sector; anchor by anchor its 204 bytes lie in 8 sectors at most.
        const double floor = (channels_last ? 100.0 * 8.0 : values) * 32.0 + results;
        std::printf(
            "100 of 300 anchors, 17 points, %s: %.3f MB moved, %.3f of the floor; stores: %.2f sectors; "
            "bank conflicts: %llu\n",
            channels_last ? "channels last" : "channels first", static_cast<double>(traffic.moved_bytes()) / 1e6,
            static_cast<double>(traffic.moved_bytes()) / floor,
            static_cast<double>(traffic.global_stores.sectors) / static_cast<double>(traffic.global_stores.requests),
            static_cast<unsigned long long>(traffic.bank_conflicts));
        CHECK(static_cast<double>(traffic.moved_bytes()) <= 1.05 * floor);
        CHECK(traffic.global_stores.most_sectors <= 4);
        CHECK(traffic.bank_conflicts == 0);
    }
}

void test_other_descriptors() {
    Case tested({{4, 4, 8}}, {4});
    tested.params.dimensions = 3;
    tested.capacity = 4;
    KeypointParams other = tested.params;
    other.dimensions = 2;
    emulation::Emulator::instance().options = kSchedules[0].options(3);
    const auto device = tested_device();
    Outcome outcome = run_on_both(*device, tested, &other);
    std::fill(outcome.expected.begin(), outcome.expected.end(), 0.0f);
    check_equal("descriptors of other dimensions", outcome);
}

/// A captured launch serves other images, thresholds and anchors, whose places it keeps.
void test_a_graph() {
    const auto device = tested_device();
    emulation::Emulator::instance().options = kSchedules[3].options(3);
    Stream stream = nullptr;
    CHECK(device->create_stream(&stream).ok());
    const std::vector<float> head(3 * 4, 1.5f);
    OnDevice values(*device, head.size() * sizeof(float), "heads");
    OnDevice indices(*device, sizeof(std::int32_t), "anchor_indices");
    OnDevice counts(*device, sizeof(std::int32_t), "counts");
    OnDevice descriptors(*device, keypoint_descriptor_bytes(1), "descriptors");
    OnDevice points(*device, 3 * sizeof(float), "points");
    values.upload(head.data(), values.bytes(), stream);
    KeypointLevel level;
    level.stride = 8;
    level.keypoints.data = values.get();
    level.keypoints.rank = 4;
    level.keypoints.shape = {1, 3, 2, 2};
    level.keypoints.strides = {48, 16, 8, 4};
    CHECK(device->begin_capture(stream).ok());
    CHECK(
        keypoints_from_heads_on_device(*device, &level, 1, 3, descriptors.get(),
                                       DeviceChosenAnchors{indices.get<std::int32_t>(), counts.get<std::int32_t>(), 1},
                                       points.get<float>(), stream)
            .ok());
    Graph graph = nullptr;
    CHECK(device->end_capture(stream, &graph).ok());
    for (const std::int32_t anchor : {0, 3, -1}) {
        ImageTarget image = target_of(anchor + 1);
        image.placement.left = 0;
        image.placement.top = 0;
        image.placement.crop = Rectangle{0, 0, 1, 1};
        image.placement.scale_x = 0.5;
        image.placement.scale_y = 0.25;
        image.image_width = 1000;
        image.image_height = 1000;
        KeypointParams params;
        params.confidence = anchor == 3 ? 0.9f : 0.0f;
        alignas(16) unsigned char described[64];
        CHECK(describe_keypoints(&image, 1, params, described, sizeof(described)).ok());
        const std::int32_t count = 1;
        descriptors.upload(described, descriptors.bytes(), stream);
        indices.upload(&anchor, sizeof(anchor), stream);
        counts.upload(&count, sizeof(count), stream);
        CHECK(device->launch_graph(graph, stream).ok());
        const std::vector<float> found = points.download<float>(stream);
        // (2 * 1.5 + 0) * 8 / 0.5 and / 0.25; the last pixel's confidence of 0.82 is too little, -1 is no anchor.
        CHECK(found[0] == (anchor == 0 ? 48.0f : 0.0f));
        CHECK(found[1] == (anchor == 0 ? 96.0f : 0.0f));
        CHECK((found[2] > 0.8f) == (anchor == 0));
    }
    check_no_findings("graph");
    CHECK(device->destroy_graph(graph).ok());
    CHECK(device->destroy_stream(stream).ok());
}

void check_refused(const Status& status, const char* said) {
    if (std::strstr(status.message(), said) == nullptr) std::fprintf(stderr, "%s\n", status.message());
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(std::strstr(status.message(), said) != nullptr);
}

void test_refusals() {
    const auto device = tested_device();
    alignas(16) unsigned char descriptors[64] = {};
    const ImageTarget image = target_of(0);
    const auto describe = [&](const KeypointParams& params, const ImageTarget* images, std::int64_t count, void* memory,
                              std::size_t bytes) { return describe_keypoints(images, count, params, memory, bytes); };
    CHECK(keypoint_descriptor_bytes(1) <= sizeof(descriptors));
    check_refused(describe(KeypointParams{4, 0.0f, BoxConvention::kV2}, &image, 1, descriptors, 64), "dimensions is 4");
    check_refused(describe(KeypointParams{3, 1.5f, BoxConvention::kV2}, &image, 1, descriptors, 64),
                  "keypoint_confidence is 1.5");
    check_refused(describe(KeypointParams(), nullptr, 1, descriptors, 64), "images is a null pointer");
    check_refused(describe(KeypointParams(), &image, -1, descriptors, 64), "image_count is -1");
    check_refused(describe(KeypointParams(), &image, 1, nullptr, 64), "descriptors are a null pointer");
    check_refused(describe(KeypointParams(), &image, 1, descriptors + 8, 56), "not on a multiple of 16");
    check_refused(describe(KeypointParams(), &image, 1, descriptors, 16), "descriptors have room for 16 bytes");
    ImageTarget flat = image;
    flat.placement.scale_x = 0.0;
    check_refused(describe(KeypointParams(), &flat, 1, descriptors, 64), "placements[0] has scale");

    KeypointLevel level;
    level.stride = 8;
    level.keypoints.data = descriptors;
    level.keypoints.rank = 4;
    level.keypoints.shape = {1, 6, 1, 2};
    level.keypoints.strides = {48, 8, 8, 4};
    std::int32_t number = 0;
    float value = 0.0f;
    const auto find = [&](const KeypointLevel* levels, std::int64_t count, std::int64_t dimensions,
                          const DeviceChosenAnchors& chosen, float* points) {
        return keypoints_from_heads_on_device(*device, levels, count, dimensions, descriptors, chosen, points, nullptr);
    };
    const DeviceChosenAnchors one{&number, &number, 1};
    check_refused(find(&level, 0, 3, one, &value), "heads is empty");
    check_refused(find(&level, 9, 3, one, &value), "heads has 9 levels");
    check_refused(find(&level, 1, 5, one, &value), "dimensions is 5");
    check_refused(find(&level, 1, 3, {nullptr, &number, 1}, &value), "anchor_indices is a null pointer");
    check_refused(find(&level, 1, 3, {&number, nullptr, 1}, &value), "counts is a null pointer");
    check_refused(find(&level, 1, 3, one, nullptr), "points is a null pointer");
    check_refused(find(&level, 1, 3, {&number, &number, -1}, &value), "capacity is -1");
    check_refused(find(&level, 1, 3, {&number, &number, std::int64_t{1} << 40}, &value), "capacity is 1099511627776");
    std::vector<float> values(16);
    std::int32_t numbers[8] = {};
    level.keypoints.data = values.data();  // 12 of them; an anchor's points are 6
    for (const std::size_t place : {0U, 3U, 11U})
        check_refused(find(&level, 1, 3, one, values.data() + place), "points overlaps heads[0]");
    check_refused(find(&level, 1, 3, {numbers + 5, &number, 1}, reinterpret_cast<float*>(numbers)),
                  "points overlaps anchor_indices");
    check_refused(find(&level, 1, 3, {&number, numbers, 1}, reinterpret_cast<float*>(numbers)),
                  "points overlaps counts");
    check_refused(find(&level, 1, 3, one, reinterpret_cast<float*>(descriptors)), "points overlaps descriptors");
    level.keypoints.data = descriptors;
    level.keypoints.dtype = DataType::kUint8;
    check_refused(find(&level, 1, 3, one, &value), "heads[0] is neither float32 nor float16 nor bfloat16");
    level.keypoints.dtype = DataType::kFloat32;
    level.keypoints.shape[1] = 7;
    check_refused(find(&level, 1, 3, one, &value), "heads[0] has shape [1, 7, 1, 2]");
    level.keypoints.shape[1] = 6;
    CHECK(find(&level, 1, 3, {nullptr, nullptr, 0}, nullptr).ok());
}

}  // namespace

int main() {
    test_awkward_sizes();
    test_full_size();
    test_other_descriptors();
    test_a_graph();
    test_refusals();
    return 0;
}
