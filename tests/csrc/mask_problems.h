#pragma once

// A batch of masks to draw: how it lies in a device's memory, what the CPU op makes of it, and whether what a device
// has drawn is the same.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "device_bench.h"
#include "rfkernels/device.h"
#include "rfkernels/masks.h"
#include "rfkernels/preprocess.h"

namespace rfkernels::test {

/// Memory of a device, of just that size; nothing is written to it before somebody does.
class DeviceMemory {
  public:
    DeviceMemory(const std::shared_ptr<Device>& device, std::size_t bytes, const char* purpose, bool pinned = false)
        : device_(device), bytes_(bytes), pinned_(pinned) {
        const std::size_t asked = bytes == 0 ? 16 : bytes;
        CHECK(
            (pinned ? device_->allocate_pinned(asked, purpose, &memory_) : device_->allocate(asked, purpose, &memory_))
                .ok());
    }
    ~DeviceMemory() { CHECK((pinned_ ? device_->release_pinned(memory_) : device_->release(memory_)).ok()); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    template <typename T>
    T* as() const {
        return static_cast<T*>(memory_);
    }

    void upload(const void* from, std::size_t bytes, std::size_t at = 0) {
        if (bytes == 0) return;
        CHECK(at + bytes <= bytes_);
        CHECK(device_->copy(as<char>() + at, from, bytes, CopyDirection::kToDevice, nullptr).ok());
    }

    template <typename T>
    std::vector<T> download(std::size_t count) const {
        std::vector<T> values(count);
        if (count == 0) return values;
        if (pinned_) {
            std::memcpy(values.data(), memory_, count * sizeof(T));
        } else {
            CHECK(device_->copy(values.data(), memory_, count * sizeof(T), CopyDirection::kToHost, nullptr).ok());
        }
        return values;
    }

  private:
    std::shared_ptr<Device> device_;
    void* memory_ = nullptr;
    std::size_t bytes_;
    bool pinned_;
};

/// A value's bits in a type that is perhaps narrower: cut, not rounded, which is as good here.
inline std::uint32_t encoded(float value, DataType dtype) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    if (dtype == DataType::kFloat32) return bits;
    if (dtype == DataType::kBfloat16) return bits >> 16U;
    const std::uint32_t sign = bits >> 16U & 0x8000U;
    const auto exponent = static_cast<std::int32_t>(bits >> 23U & 0xFFU) - 127;
    if (std::isnan(value)) return sign | 0x7E00U;
    if (exponent < -14) return sign;  // no subnormal numbers
    CHECK(exponent <= 15);
    return sign | static_cast<std::uint32_t>(exponent + 15) << 10U | (bits >> 13U & 0x3FFU);
}

/// The value that a type holds in its place.
inline float held(float value, DataType dtype) {
    std::uint32_t bits = encoded(value, dtype);
    if (dtype == DataType::kBfloat16) bits <<= 16U;
    if (dtype == DataType::kFloat16) {
        const std::uint32_t sign = (bits & 0x8000U) << 16U, rest = bits & 0x7FFFU;
        bits = rest == 0 ? sign : sign | (rest + ((127U - 15U) << 10U)) << 13U;
    }
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

/// How images lie in the network's input; where they are centred they may reach beyond it.
enum class Placing { kFitted, kStretched, kCentred };

/// What is drawn: a batch, and how it lies in memory.
struct Problem {
    std::vector<MaskGrid> grids;
    std::int64_t prototype_height = 0, prototype_width = 0, channels = 0, max_detections = 0;
    DataType dtype = DataType::kFloat32;
    Placing placing = Placing::kFitted;
    bool channels_last = false;
    bool has_rows = false;            ///< coefficients in rows, not in the heads
    std::vector<float> prototypes;    ///< [N, channels, H, W]
    std::vector<float> coefficients;  ///< [N, max_detections, channels]
    std::vector<float> boxes;         ///< [N, max_detections, 4]
    std::vector<std::int32_t> counts;

    std::int64_t images() const { return static_cast<std::int64_t>(grids.size()); }
    std::int64_t most_width = 0, most_height = 0;
    MaskDeviceLayout layout() const {
        return {images(), max_detections, prototype_height, prototype_width, most_height, most_width};
    }
};

inline MaskGrid grid_of(const Problem& problem, std::int64_t height, std::int64_t width, MaskConvention convention,
                        double factor, const rfkernels::Rectangle* crop = nullptr) {
    rfkernels::MaskGridRequest request;
    request.convention = convention;
    request.image_height = height;
    request.image_width = width;
    request.prototype_height = problem.prototype_height;
    request.prototype_width = problem.prototype_width;
    request.network_height = problem.prototype_height * 4;
    request.network_width = problem.prototype_width * 4;
    request.resolution_factor = factor;
    const auto rounding =
        convention == MaskConvention::kV2 ? rfkernels::SizeRounding::kTruncate : rfkernels::SizeRounding::kHalfToEven;
    const rfkernels::Rectangle part = crop != nullptr ? *crop : rfkernels::whole_image(height, width);
    const rfkernels::Size canvas{request.network_height, request.network_width};
    if (problem.placing == Placing::kFitted) {
        CHECK(rfkernels::plan_letterbox(part, canvas, rounding, &request.placement).ok());
    } else if (problem.placing == Placing::kStretched) {
        CHECK(rfkernels::plan_stretch(part, canvas, &request.placement).ok());
    } else {
        CHECK(rfkernels::plan_center_crop(part, canvas, &request.placement).ok());
    }
    MaskGrid grid;
    CHECK(plan_mask_grid(request, &grid).ok());
    return grid;
}

/// Values that a type holds: prototypes, coefficients and boxes of all kinds.
inline void fill(Problem* problem, std::mt19937* random) {
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> share;
    for (const MaskGrid& grid : problem->grids) {
        problem->most_width = std::max(problem->most_width, grid.width);
        problem->most_height = std::max(problem->most_height, grid.height);
    }
    const std::int64_t pixels = problem->prototype_height * problem->prototype_width;
    problem->prototypes.resize(static_cast<std::size_t>(problem->images() * problem->channels * pixels));
    // Smooth enough for masks to have insides.
    for (std::size_t i = 0; i < problem->prototypes.size(); ++i) {
        const float wave = std::sin(static_cast<float>(i) * 0.37F) * 2.0F;
        problem->prototypes[i] = held(wave + normal(*random) * 0.5F, problem->dtype);
    }
    const std::int64_t slots = problem->images() * problem->max_detections;
    problem->coefficients.resize(static_cast<std::size_t>(slots * problem->channels));
    for (float& value : problem->coefficients) value = held(normal(*random), problem->dtype);
    const auto width = static_cast<float>(problem->prototype_width * 4);
    const auto height = static_cast<float>(problem->prototype_height * 4);
    for (std::int64_t i = 0; i < slots; ++i) {
        const float x = (share(*random) * 1.3F - 0.2F) * width, y = (share(*random) * 1.3F - 0.2F) * height;
        problem->boxes.insert(problem->boxes.end(),
                              {x, y, x + share(*random) * width * 0.9F, y + share(*random) * height * 0.9F});
    }
}

/// The masks of one image as the CPU op gives them.
struct Expected {
    Polygons all, best;
    RunLengths lengths;
    std::vector<std::uint8_t> dense;
};

inline std::vector<Expected> expected_of(const Problem& problem) {
    std::vector<Expected> answers;
    for (std::size_t image = 0; image < problem.grids.size(); ++image) {
        const auto pixels = static_cast<std::size_t>(problem.prototype_height * problem.prototype_width);
        const auto channels = static_cast<std::size_t>(problem.channels);
        const auto places = static_cast<std::size_t>(problem.max_detections);
        TensorView view;
        view.data = const_cast<float*>(problem.prototypes.data() + image * channels * pixels);
        view.rank = 4;
        view.shape = {1, problem.channels, problem.prototype_height, problem.prototype_width};
        view.strides = {static_cast<std::int64_t>(channels * pixels) * 4, static_cast<std::int64_t>(pixels) * 4,
                        problem.prototype_width * 4, 4};
        const MaskSources sources{view, problem.coefficients.data() + image * places * channels,
                                  problem.boxes.data() + image * places * 4, problem.counts[image]};
        const MaskGrid& grid = problem.grids[image];
        Expected answer;
        CHECK(masks_to_polygons(sources, grid, ContourChoice::kAll, &answer.all).ok());
        CHECK(masks_to_polygons(sources, grid, ContourChoice::kMostPoints, &answer.best).ok());
        CHECK(masks_to_run_lengths(sources, grid, &answer.lengths).ok());
        answer.dense.assign(static_cast<std::size_t>(problem.counts[image] * grid.height * grid.width), 0xFF);
        CHECK(masks_to_dense(sources, grid, answer.dense.data()).ok());
        answers.push_back(std::move(answer));
    }
    return answers;
}

inline bool equal(const Polygons& a, const Polygons& b) {
    return a.points == b.points && a.first_points == b.first_points && a.first_contours == b.first_contours &&
           a.areas == b.areas;
}

/// A tensor [N, channels, pixels] of a type and layout, in the device's memory. Element i is that of `at(image,
/// channel, pixel)`.
template <typename At>
TensorView uploaded(DeviceMemory* memory, const Problem& problem, std::int64_t height, std::int64_t width, At at) {
    const std::int64_t pixels = height * width;
    const std::int64_t element = problem.dtype == DataType::kFloat32 ? 4 : 2;
    std::vector<unsigned char> bytes(static_cast<std::size_t>(problem.images() * problem.channels * pixels * element));
    for (std::int64_t image = 0; image < problem.images(); ++image) {
        for (std::int64_t channel = 0; channel < problem.channels; ++channel) {
            for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
                const std::int64_t within =
                    problem.channels_last ? pixel * problem.channels + channel : channel * pixels + pixel;
                const std::uint32_t bits = encoded(at(image, channel, pixel), problem.dtype);
                std::memcpy(bytes.data() + (image * problem.channels * pixels + within) * element, &bits,
                            static_cast<std::size_t>(element));
            }
        }
    }
    memory->upload(bytes.data(), bytes.size());
    TensorView view;
    view.data = memory->as<void>();
    view.dtype = problem.dtype;
    view.rank = 4;
    view.shape = {problem.images(), problem.channels, height, width};
    view.strides = {problem.channels * pixels * element, pixels * element, width * element, element};
    if (problem.channels_last) {
        view.strides = {problem.channels * pixels * element, element, width * problem.channels * element,
                        problem.channels * element};
    }
    return view;
}

/// A problem's inputs on a device. What no detection takes is memory that nobody has written.
class Bench {
  public:
    Bench(const std::shared_ptr<Device>& opened, const Problem& given)
        : device(opened),
          problem(given),
          element_(given.dtype == DataType::kFloat32 ? 4 : 2),
          prototypes_(opened, bytes_of(given.prototype_height * given.prototype_width), "prototypes"),
          boxes_(opened, slots() * 16, "boxes"),
          counts_(opened, given.counts.size() * 4, "counts"),
          anchors_(opened, slots() * 4, "anchors"),
          rows_(opened, slots() * static_cast<std::size_t>(given.channels) * element_, "coefficient rows"),
          descriptors_(opened, mask_descriptor_bytes(given.layout()), "descriptors") {
        sources.prototypes = uploaded(
            &prototypes_, problem, problem.prototype_height, problem.prototype_width,
            [&](std::int64_t image, std::int64_t channel, std::int64_t pixel) {
                const std::int64_t pixels = problem.prototype_height * problem.prototype_width;
                return problem
                    .prototypes[static_cast<std::size_t>((image * problem.channels + channel) * pixels + pixel)];
            });
        counts_.upload(problem.counts.data(), problem.counts.size() * 4);
        const auto places = static_cast<std::size_t>(problem.max_detections);
        for (std::size_t image = 0; image < problem.grids.size(); ++image) {
            boxes_.upload(problem.boxes.data() + image * places * 4,
                          static_cast<std::size_t>(problem.counts[image]) * 16, image * places * 16);
        }
        if (problem.has_rows) {
            put_rows();
        } else {
            put_levels();
        }
        sources.boxes = boxes_.as<float>();
        sources.counts = counts_.as<std::int32_t>();
        describe(problem.grids);
    }

    /// Descriptors of other grids, for the same calls.
    void describe(const std::vector<MaskGrid>& grids) {
        const std::size_t bytes = mask_descriptor_bytes(problem.layout());
        std::vector<std::max_align_t> host((bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
        const Status status = describe_masks(problem.layout(), grids.data(), host.data());
        if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
        CHECK(status.ok());
        descriptors_.upload(host.data(), bytes);
        CHECK(device->synchronize(nullptr).ok());
    }

    /// The problem's grids and counts as they are now, for the same calls.
    void exchange() {
        counts_.upload(problem.counts.data(), problem.counts.size() * 4);
        describe(problem.grids);  // waits for both: calls may be on another stream
    }

    std::size_t slots() const { return static_cast<std::size_t>(problem.images() * problem.max_detections); }
    const void* descriptors() const { return descriptors_.as<void>(); }

    const std::shared_ptr<Device> device;
    const Problem& problem;
    DeviceMaskSources sources;

  private:
    std::size_t bytes_of(std::int64_t pixels) const {
        return static_cast<std::size_t>(problem.images() * problem.channels * pixels) * element_;
    }

    void put_rows() {
        std::vector<unsigned char> bytes(slots() * static_cast<std::size_t>(problem.channels) * element_);
        for (std::size_t i = 0; i < problem.coefficients.size(); ++i) {
            const std::uint32_t bits = encoded(problem.coefficients[i], problem.dtype);
            std::memcpy(bytes.data() + i * element_, &bits, element_);
        }
        rows_.upload(bytes.data(), bytes.size());
        TensorView& view = sources.coefficient_rows;
        const auto element = static_cast<std::int64_t>(element_);
        view.data = rows_.as<void>();
        view.dtype = problem.dtype;
        view.rank = 3;
        view.shape = {problem.images(), problem.max_detections, problem.channels};
        view.strides = {problem.max_detections * problem.channels * element, problem.channels * element, element};
    }

    /// Heads of three levels, in which detections lie at anchors here and there.
    void put_levels() {
        const std::int64_t most = problem.max_detections;
        const std::int64_t sizes[3][2] = {{most, 2}, {most, 1}, {1, 3}};
        const std::int64_t firsts[4] = {0, most * 2, most * 3, most * 3 + 3};
        std::mt19937 random(3);
        std::vector<std::int32_t> place_of(static_cast<std::size_t>(problem.images() * firsts[3]), -1);
        for (std::int64_t image = 0; image < problem.images(); ++image) {
            std::vector<std::int32_t> anchors;
            for (std::int32_t place = 0; place < problem.counts[static_cast<std::size_t>(image)]; ++place) {
                std::int64_t anchor = 0;
                do {
                    anchor = place == 0 ? firsts[3] - 1 : static_cast<std::int64_t>(random()) % firsts[3];
                } while (place_of[static_cast<std::size_t>(image * firsts[3] + anchor)] >= 0);
                place_of[static_cast<std::size_t>(image * firsts[3] + anchor)] = place;
                anchors.push_back(static_cast<std::int32_t>(anchor));
            }
            anchors_.upload(anchors.data(), anchors.size() * 4, static_cast<std::size_t>(image * most) * 4);
        }
        for (int level = 0; level < 3; ++level) {
            const std::int64_t height = sizes[level][0], width = sizes[level][1];
            levels_.push_back(std::make_unique<DeviceMemory>(device, bytes_of(height * width), "level"));
            views_.push_back(uploaded(
                levels_.back().get(), problem, height, width,
                [&](std::int64_t image, std::int64_t channel, std::int64_t pixel) {
                    const std::int32_t place =
                        place_of[static_cast<std::size_t>(image * firsts[3] + firsts[level] + pixel)];
                    if (place < 0) return 7.0F;
                    return problem
                        .coefficients[static_cast<std::size_t>((image * most + place) * problem.channels + channel)];
                }));
        }
        sources.coefficient_levels = views_.data();
        sources.coefficient_level_count = 3;
        sources.anchor_indices = anchors_.as<std::int32_t>();
    }

    std::size_t element_;
    DeviceMemory prototypes_, boxes_, counts_, anchors_, rows_, descriptors_;
    std::vector<std::unique_ptr<DeviceMemory>> levels_;
    std::vector<TensorView> views_;
};

using Call = Status (*)(Device&, const MaskDeviceLayout&, const DeviceMaskSources&, const void*,
                        const DeviceMaskResults&, void*, rfkernels::Stream);

/// What a call has written, on the host.
template <typename Element>
struct Drawn {
    MaskSummary summary;
    std::vector<MaskRecord> records;
    std::vector<Element> arena;
};

template <typename Element>
Drawn<Element> drawn(const Bench& bench, Call call, std::int64_t capacity, bool pinned = false) {
    const std::int64_t runs = sizeof(Element) == 4 ? capacity : 0;
    DeviceMemory summary(bench.device, sizeof(MaskSummary), "summary", pinned);
    DeviceMemory records(bench.device, bench.slots() * sizeof(MaskRecord), "records", pinned);
    DeviceMemory arena(bench.device, static_cast<std::size_t>(capacity) * sizeof(Element), "arena", pinned);
    DeviceMemory scratch(bench.device, mask_scratch_bytes(bench.problem.layout(), runs), "scratch");
    const DeviceMaskResults results{summary.as<MaskSummary>(), records.as<MaskRecord>(), arena.as<void>(), capacity};
    Status status = call(*bench.device, bench.problem.layout(), bench.sources, bench.descriptors(), results,
                         scratch.as<void>(), nullptr);
    if (status.ok()) status = bench.device->synchronize(nullptr);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
    CHECK(status.ok());
    const auto used = static_cast<std::size_t>(capacity);
    return {summary.download<MaskSummary>(1)[0], records.download<MaskRecord>(bench.slots()),
            arena.download<Element>(used)};
}

/// What an arena of bits says of one mask, in an image of zeros.
inline void paint(const MaskRecord& record, const std::uint64_t* arena, std::int64_t width, std::uint8_t* dense) {
    for (std::int64_t y = 0; y < record.height; ++y) {
        for (std::int64_t x = 0; x < record.width; ++x) {
            const std::uint64_t bits = arena[record.first + x / 64 * record.height + y];
            dense[(record.top + y) * width + record.left + x] = static_cast<std::uint8_t>(bits >> (x % 64) & 1U);
        }
    }
}

inline void check_bits(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::uint64_t>& bits) {
    CHECK(bits.summary.overflowed == 0);
    for (std::size_t image = 0; image < expected.size(); ++image) {
        const MaskGrid& grid = bench.problem.grids[image];
        const std::int64_t count = bench.problem.counts[image];
        const MaskRecord* records =
            bits.records.data() + image * static_cast<std::size_t>(bench.problem.max_detections);
        std::vector<std::uint8_t> dense(expected[image].dense.size());
        for (std::int64_t i = 0; i < count; ++i)
            paint(records[i], bits.arena.data(), grid.width, dense.data() + i * grid.height * grid.width);
        CHECK(dense == expected[image].dense);
        for (std::int64_t i = count; i < bench.problem.max_detections; ++i)
            CHECK(records[i].count == 0 && records[i].width == 0);
        Polygons polygons;
        CHECK(polygons_from_bits(bits.summary, records, count, bits.arena.data(), bits.summary.needed,
                                 ContourChoice::kAll, &polygons)
                  .ok());
        CHECK(equal(polygons, expected[image].all));
        CHECK(polygons_from_bits(bits.summary, records, count, bits.arena.data(), bits.summary.needed,
                                 ContourChoice::kMostPoints, &polygons)
                  .ok());
        CHECK(equal(polygons, expected[image].best));
    }
}

inline void check_runs(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::int32_t>& runs) {
    CHECK(runs.summary.overflowed == 0);
    std::int64_t next = 0;
    for (const MaskRecord& record : runs.records) {  // compact, and in order
        if (record.count == 0) continue;
        CHECK(record.first == next);
        next += record.count;
    }
    CHECK(next == runs.summary.needed);
    for (std::size_t image = 0; image < expected.size(); ++image) {
        const MaskRecord* records =
            runs.records.data() + image * static_cast<std::size_t>(bench.problem.max_detections);
        RunLengths lengths;
        const Status status =
            run_lengths_from_runs(runs.summary, records, bench.problem.counts[image], runs.arena.data(),
                                  runs.summary.needed, bench.problem.grids[image], &lengths);
        if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
        CHECK(status.ok());
        CHECK(lengths.counts == expected[image].lengths.counts && lengths.areas == expected[image].lengths.areas);
    }
}

inline void check_dense(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::uint8_t>& dense) {
    CHECK(dense.summary.overflowed == 0);
    for (std::size_t image = 0; image < expected.size(); ++image) {
        const MaskGrid& grid = bench.problem.grids[image];
        for (std::int64_t i = 0; i < bench.problem.counts[image]; ++i) {
            const MaskRecord& record = dense.records[image * static_cast<std::size_t>(bench.problem.max_detections) +
                                                     static_cast<std::size_t>(i)];
            const std::int64_t pixels = grid.height * grid.width;
            CHECK(record.count == pixels && record.first + pixels <= dense.summary.needed);
            CHECK(std::memcmp(dense.arena.data() + record.first, expected[image].dense.data() + i * pixels,
                              static_cast<std::size_t>(pixels)) == 0);
        }
    }
}

}  // namespace rfkernels::test
