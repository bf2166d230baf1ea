// Masks drawn on a device against those of the CPU op, bit for bit: every form, convention, type and layout, under
// every schedule of the emulated device, which may find nothing wrong with the kernels; and what they move.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "device_bench.h"
#include "emulation/emulation.h"
#include "rfkernels/device.h"
#include "rfkernels/masks.h"
#include "rfkernels/preprocess.h"
#include "schedules.h"

namespace {

using rfkernels::ContourChoice;
using rfkernels::CopyDirection;
using rfkernels::DataType;
using rfkernels::Device;
using rfkernels::DeviceMaskResults;
using rfkernels::DeviceMaskSources;
using rfkernels::MaskConvention;
using rfkernels::MaskDeviceLayout;
using rfkernels::MaskGrid;
using rfkernels::MaskRecord;
using rfkernels::MaskSources;
using rfkernels::MaskSummary;
using rfkernels::Polygons;
using rfkernels::RunLengths;
using rfkernels::Status;
using rfkernels::TensorView;
using rfkernels::emulation::Emulator;
using rfkernels::emulation::Finding;
namespace test = rfkernels::test;

std::shared_ptr<Device> opened_device() {
    std::shared_ptr<Device> device;
    CHECK(Device::open(rfkernels::DeviceKind::kEmulated, 0, &device).ok());
    return device;
}

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
std::uint32_t encoded(float value, DataType dtype) {
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
float held(float value, DataType dtype) {
    std::uint32_t bits = encoded(value, dtype);
    if (dtype == DataType::kBfloat16) bits <<= 16U;
    if (dtype == DataType::kFloat16) {
        const std::uint32_t sign = (bits & 0x8000U) << 16U, rest = bits & 0x7FFFU;
        bits = rest == 0 ? sign : sign | (rest + ((127U - 15U) << 10U)) << 13U;
    }
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

/// What is drawn: a batch, and how it lies in memory.
struct Problem {
    std::vector<MaskGrid> grids;
    std::int64_t prototype_height = 0, prototype_width = 0, channels = 0, max_detections = 0;
    DataType dtype = DataType::kFloat32;
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

/// The masks of one image as the CPU op gives them.
struct Expected {
    Polygons all, best;
    RunLengths lengths;
    std::vector<std::uint8_t> dense;
};

std::vector<Expected> expected_of(const Problem& problem) {
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

bool equal(const Polygons& a, const Polygons& b) {
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
void paint(const MaskRecord& record, const std::uint64_t* arena, std::int64_t width, std::uint8_t* dense) {
    for (std::int64_t y = 0; y < record.height; ++y) {
        for (std::int64_t x = 0; x < record.width; ++x) {
            const std::uint64_t bits = arena[record.first + x / 64 * record.height + y];
            dense[(record.top + y) * width + record.left + x] = static_cast<std::uint8_t>(bits >> (x % 64) & 1U);
        }
    }
}

void check_bits(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::uint64_t>& bits) {
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

void check_runs(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::int32_t>& runs) {
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

void check_dense(const Bench& bench, const std::vector<Expected>& expected, const Drawn<std::uint8_t>& dense) {
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

MaskGrid grid_of(const Problem& problem, std::int64_t height, std::int64_t width, MaskConvention convention,
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
    CHECK(rfkernels::plan_letterbox(part, {request.network_height, request.network_width}, rounding, &request.placement)
              .ok());
    MaskGrid grid;
    CHECK(plan_mask_grid(request, &grid).ok());
    return grid;
}

/// Values that a type holds: prototypes, coefficients and boxes of all kinds.
void fill(Problem* problem, std::mt19937* random) {
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

void set_box(Problem* problem, std::int64_t place, const std::vector<float>& box) {
    if (place < problem->max_detections)
        std::copy(box.begin(), box.end(), problem->boxes.begin() + static_cast<std::ptrdiff_t>(place * 4));
}

/// Boxes at edges, empty, outside, of the whole image, not numbers; in the first image.
void put_awkward_boxes(Problem* problem) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinite = std::numeric_limits<float>::infinity();
    const auto width = static_cast<float>(problem->prototype_width * 4);
    const auto height = static_cast<float>(problem->prototype_height * 4);
    set_box(problem, 0, {0.0F, 0.0F, width, height});
    set_box(problem, 1, {-100.0F, -50.0F, width * 3.0F, height * 3.0F});
    set_box(problem, 2, {width * 0.5F, 3.0F, width * 0.5F, 40.0F});
    set_box(problem, 3, {width * 2.0F, 3.0F, width * 3.0F, 40.0F});
    set_box(problem, 4, {kNan, 0.0F, width, height});
    set_box(problem, 5, {0.0F, 0.0F, kInfinite, height});
    set_box(problem, 6, {width - 1.0F, height - 2.0F, width, height});
    if (problem->max_detections > 7) problem->coefficients[static_cast<std::size_t>(7 * problem->channels)] = kNan;
}

struct Sizes {
    std::int64_t prototype_height, prototype_width, channels;
    std::int64_t heights[2], widths[2];
};

std::vector<Problem> awkward_problems() {
    const Sizes sizes[] = {
        {16, 24, 32, {40, 133}, {60, 71}}, {16, 24, 7, {1, 5}, {1, 300}},     {16, 24, 33, {300, 64}, {1, 96}},
        {1, 1, 8, {7, 1}, {9, 2}},         {12, 8, 1, {1200, 30}, {3, 129}},  {50, 40, 16, {3, 21}, {2, 33}},
        {2, 1400, 2, {1, 2}, {1, 3}},      {20, 20, 40, {77, 31}, {90, 257}},
    };
    std::vector<Problem> problems;
    std::mt19937 random(5);
    int number = 0;
    for (const Sizes& size : sizes) {
        for (int kind = 0; kind < 5; ++kind, ++number) {
            if (size.prototype_width > 1000 && kind % 3 == 1) continue;  // a grid as wide as that network takes long
            Problem problem;
            problem.prototype_height = size.prototype_height;
            problem.prototype_width = size.prototype_width;
            problem.channels = size.channels;
            problem.max_detections = 9;
            constexpr DataType kTypes[] = {DataType::kFloat16, DataType::kFloat32, DataType::kBfloat16};
            problem.dtype = kTypes[number % 3];
            problem.channels_last = number % 4 == 1;
            problem.has_rows = number % 5 == 2;
            constexpr MaskConvention kConventions[] = {MaskConvention::kV2, MaskConvention::kUltralytics,
                                                       MaskConvention::kUltralyticsNative};
            const MaskConvention convention = kConventions[kind % 3];
            const double factor = kind == 3 ? 0.3 : 1.0;
            for (int image = 0; image < 2; ++image) {
                const std::int64_t height = size.heights[image], width = size.widths[image];
                // A static crop of the first image, where it is large enough for one.
                const rfkernels::Rectangle part{width / 3, height / 4, width - width / 2, height - height / 2};
                problem.grids.push_back(
                    grid_of(problem, height, width, convention, factor, kind >= 3 && image == 0 ? &part : nullptr));
            }
            problem.counts = {9, number % 4 == 0 ? 0 : 5};
            fill(&problem, &random);
            put_awkward_boxes(&problem);
            problems.push_back(std::move(problem));
        }
    }
    return problems;
}

/// All forms, from arenas of just the size that `needed` says; what they take where that is nothing yet.
struct Needed {
    std::int64_t bits = 0, runs = 0, dense = 0;
};

void check_all(const Bench& bench, const std::vector<Expected>& expected, const Needed& needed, bool pinned,
               const char* what) {
    const auto bits = drawn<std::uint64_t>(bench, rfkernels::masks_to_bits_on_device, needed.bits, pinned);
    check_no_findings(what);
    check_bits(bench, expected, bits);
    const auto runs = drawn<std::int32_t>(bench, rfkernels::masks_to_runs_on_device, needed.runs, pinned);
    check_no_findings(what);
    check_runs(bench, expected, runs);
    const auto dense = drawn<std::uint8_t>(bench, rfkernels::masks_to_dense_on_device, needed.dense, pinned);
    check_no_findings(what);
    check_dense(bench, expected, dense);
}

/// From arenas one too small, which must stay as they are.
Needed needed_by(const Bench& bench) {
    Needed needed;
    needed.bits = drawn<std::uint64_t>(bench, rfkernels::masks_to_bits_on_device, 0).summary.needed;
    needed.runs = drawn<std::int32_t>(bench, rfkernels::masks_to_runs_on_device, 0).summary.needed;
    needed.dense = drawn<std::uint8_t>(bench, rfkernels::masks_to_dense_on_device, 0).summary.needed;
    check_no_findings("arenas without room");
    return needed;
}

template <typename Element>
void check_too_small(const Bench& bench, Call call, std::int64_t needed) {
    if (needed == 0) return;
    const Drawn<Element> result = drawn<Element>(bench, call, needed - 1, true);
    CHECK(result.summary.needed == needed && result.summary.overflowed == 1);
    // What nobody has written is poison.
    for (const Element element : result.arena) CHECK(element == static_cast<Element>(0xCBCBCBCBCBCBCBCBU));
    Polygons polygons;
    const std::string wanted = std::to_string(needed);
    const Status status =
        polygons_from_bits(result.summary, result.records.data(), 1, nullptr, 0, ContourChoice::kAll, &polygons);
    CHECK(!status.ok() && std::string(status.message()).find(wanted) != std::string::npos);
    check_no_findings("arena one too small");
}

void check_awkward() {
    const std::shared_ptr<Device> device = opened_device();
    std::uint64_t seed = 0;
    for (const Problem& problem : awkward_problems()) {
        const std::vector<Expected> expected = expected_of(problem);
        const Bench bench(device, problem);
        Emulator::instance().options = kSchedules[0].options(1);
        const Needed needed = needed_by(bench);
        for (const Schedule& schedule : kSchedules) {
            Emulator::instance().options = schedule.options(++seed);
            check_all(bench, expected, needed, seed % 7 == 0, schedule.name);
        }
        check_too_small<std::uint64_t>(bench, rfkernels::masks_to_bits_on_device, needed.bits);
        check_too_small<std::int32_t>(bench, rfkernels::masks_to_runs_on_device, needed.runs);
        check_too_small<std::uint8_t>(bench, rfkernels::masks_to_dense_on_device, needed.dense);
    }
}

/// A photograph's size: what yolov8n-seg-640 gives for a 1080p picture.
Problem large_problem(std::int64_t detections, MaskConvention convention, float share_of_side) {
    Problem problem;
    problem.prototype_height = 160;
    problem.prototype_width = 160;
    problem.channels = 32;
    problem.max_detections = 300;
    problem.dtype = DataType::kFloat16;
    problem.grids.push_back(grid_of(problem, 1080, 1920, convention, 1.0));
    problem.counts = {static_cast<std::int32_t>(detections)};
    std::mt19937 random(17);
    fill(&problem, &random);
    // Objects, not noise: a few waves across the picture.
    for (std::size_t i = 0; i < problem.prototypes.size(); ++i) {
        const auto channel = static_cast<float>(i / 25600 % 32), x = static_cast<float>(i % 160);
        const auto y = static_cast<float>(i / 160 % 160);
        const float wave = std::sin(x * 0.02F * (channel + 1.0F) + channel) * std::cos(y * 0.3F / (channel + 1.0F));
        problem.prototypes[i] = held(wave + (channel == 0.0F ? 1.5F : 0.0F), problem.dtype);
    }
    std::uniform_real_distribution<float> share;
    for (std::size_t i = 0; i < problem.boxes.size(); i += 4) {
        const float width = 640.0F * share_of_side * (0.5F + share(random));
        const float height = 360.0F * share_of_side * (0.5F + share(random));
        const float x = share(random) * (640.0F - width), y = 140.0F + share(random) * (360.0F - height);
        problem.boxes[i] = x;
        problem.boxes[i + 1] = y;
        problem.boxes[i + 2] = x + width;
        problem.boxes[i + 3] = y + height;
        problem.coefficients[i / 4 * 32] = held(std::fabs(problem.coefficients[i / 4 * 32]), problem.dtype);
    }
    return problem;
}

/// What the launches of one call moved.
struct Moved {
    std::uint64_t bytes = 0, conflicts = 0, wavefronts = 0, launches = 0;
};

Moved moved_by_records() {
    Moved moved;
    Emulator& emulator = Emulator::instance();
    for (const rfkernels::emulation::LaunchRecord& record : emulator.records) {
        const rfkernels::emulation::Traffic& traffic = record.traffic;
        moved.bytes += traffic.moved_bytes();
        moved.conflicts += traffic.bank_conflicts;
        moved.wavefronts += traffic.shared_wavefronts;
        ++moved.launches;
        const auto each = [](std::uint64_t sum, std::uint64_t count) {
            return count == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(count);
        };
        std::printf("    %-32s %6.2f MB, sectors a load %5.2f, a store %5.2f; %llu bank conflicts in %llu passes\n",
                    record.kernel.c_str(), static_cast<double>(traffic.moved_bytes()) * 1e-6,
                    each(traffic.global_loads.sectors, traffic.global_loads.requests),
                    each(traffic.global_stores.sectors, traffic.global_stores.requests),
                    static_cast<unsigned long long>(traffic.bank_conflicts),
                    static_cast<unsigned long long>(traffic.shared_wavefronts));
        for (const auto& [name, part] : traffic.moved) {
            std::printf("        %-20s %9llu read %9llu written\n", name.c_str(),
                        static_cast<unsigned long long>(part.read), static_cast<unsigned long long>(part.written));
        }
    }
    emulator.records.clear();
    return moved;
}

template <typename Element>
Drawn<Element> counted(const Bench& bench, Call call, std::int64_t capacity, std::uint64_t launches,
                       std::uint64_t most_bytes) {
    Emulator& emulator = Emulator::instance();
    const bool has_hooks = rfkernels::emulation::hooks_are_compiled_in();
    emulator.options = kSchedules[0].options(1);
    emulator.options.count_traffic = has_hooks;
    emulator.keep_records = true;
    emulator.records.clear();
    Drawn<Element> result = drawn<Element>(bench, call, capacity);
    check_no_findings("counted");
    emulator.keep_records = false;
    const Moved moved = moved_by_records();
    CHECK(moved.launches == launches);
    const std::uint64_t to_host =
        static_cast<std::uint64_t>(result.summary.needed) * sizeof(Element) + bench.slots() * sizeof(MaskRecord) + 16;
    std::printf("%d masks: %.2f MB moved in all, %.2f MB to the host\n", static_cast<int>(bench.problem.counts[0]),
                static_cast<double>(moved.bytes) * 1e-6, static_cast<double>(to_host) * 1e-6);
    if (!has_hooks) return result;
    CHECK(moved.bytes <= most_bytes && to_host < 2000000);
    CHECK(moved.conflicts * 50 <= moved.wavefronts);
    return result;
}

void check_large() {
    const std::shared_ptr<Device> device = opened_device();
    {
        const Problem problem = large_problem(100, MaskConvention::kV2, 0.2236F);  // 5 % of the picture
        const std::vector<Expected> expected = expected_of(problem);
        const Bench bench(device, problem);
        check_bits(bench, expected,
                   counted<std::uint64_t>(bench, rfkernels::masks_to_bits_on_device, 300000, 2, 4000000));
        check_runs(bench, expected,
                   counted<std::int32_t>(bench, rfkernels::masks_to_runs_on_device, 300000, 3, 4000000));
    }
    for (const auto convention : {MaskConvention::kUltralytics, MaskConvention::kUltralyticsNative}) {
        const Problem problem = large_problem(300, convention, 0.06F);
        const std::vector<Expected> expected = expected_of(problem);
        const Bench bench(device, problem);
        Emulator::instance().options = kSchedules[2].options(1);
        check_bits(bench, expected, drawn<std::uint64_t>(bench, rfkernels::masks_to_bits_on_device, 300000));
        check_runs(bench, expected, drawn<std::int32_t>(bench, rfkernels::masks_to_runs_on_device, 300000));
        check_no_findings("300 masks");
    }
    {
        const Problem problem = large_problem(3, MaskConvention::kV2, 0.9F);
        const std::vector<Expected> expected = expected_of(problem);
        const Bench bench(device, problem);
        Emulator::instance().options = kSchedules[1].options(1);
        check_all(bench, expected, needed_by(bench), false, "large boxes");
    }
}

/// A graph holds for other images: only descriptors and counts are exchanged.
void check_graph() {
    const std::shared_ptr<Device> device = opened_device();
    std::mt19937 random(23);
    Problem problem;
    problem.prototype_height = 16;
    problem.prototype_width = 24;
    problem.channels = 32;
    problem.max_detections = 12;
    problem.dtype = DataType::kFloat16;
    problem.grids = {grid_of(problem, 90, 120, MaskConvention::kV2, 1.0)};
    problem.counts = {10};
    fill(&problem, &random);
    Bench bench(device, problem);
    Emulator::instance().options = kSchedules[3].options(1);
    constexpr std::int64_t kCapacity = 4000;
    DeviceMemory summary(device, sizeof(MaskSummary), "summary"), arena(device, kCapacity * 4, "arena");
    DeviceMemory records(device, bench.slots() * sizeof(MaskRecord), "records");
    DeviceMemory scratch(device, mask_scratch_bytes(problem.layout(), kCapacity), "scratch");
    const DeviceMaskResults results{summary.as<MaskSummary>(), records.as<MaskRecord>(), arena.as<void>(), kCapacity};
    rfkernels::Stream stream = nullptr;
    rfkernels::Graph graph = nullptr;
    CHECK(device->create_stream(&stream).ok() && device->begin_capture(stream).ok());
    CHECK(masks_to_runs_on_device(*device, problem.layout(), bench.sources, bench.descriptors(), results,
                                  scratch.as<void>(), stream)
              .ok());
    CHECK(device->end_capture(stream, &graph).ok());
    const auto launched = [&] {
        const rfkernels::DeviceCounters before = device->counters();
        CHECK(device->launch_graph(graph, stream).ok());
        CHECK(device->counters().synchronizations == before.synchronizations);
        CHECK(device->counters().kernels_in_graphs == before.kernels_in_graphs + 3);
        CHECK(device->synchronize(stream).ok());
        check_no_findings("graph");
        return Drawn<std::int32_t>{summary.download<MaskSummary>(1)[0], records.download<MaskRecord>(bench.slots()),
                                   arena.download<std::int32_t>(kCapacity)};
    };
    const std::int64_t heights[] = {90, 40, 7}, widths[] = {120, 33, 100};
    for (int i = 0; i < 3; ++i) {
        for (const auto convention :
             {MaskConvention::kV2, MaskConvention::kUltralytics, MaskConvention::kUltralyticsNative}) {
            problem.grids = {grid_of(problem, heights[i], widths[i], convention, 1.0)};
            problem.counts = {10 - 5 * i};  // 10, 5, none
            bench.exchange();
            check_runs(bench, expected_of(problem), launched());
        }
    }
    CHECK(device->destroy_graph(graph).ok() && device->destroy_stream(stream).ok());
}

bool says(const Status& status, const char* text) {
    const bool does = !status.ok() && std::string(status.message()).find(text) != std::string::npos;
    if (!does) std::fprintf(stderr, "wanted '%s', got '%s'\n", text, status.message());
    return does;
}

void check_wrong_arguments() {
    const std::shared_ptr<Device> device = opened_device();
    std::mt19937 random(29);
    Problem problem;
    problem.prototype_height = 16;
    problem.prototype_width = 24;
    problem.channels = 8;
    problem.max_detections = 2;
    problem.grids = {grid_of(problem, 20, 30, MaskConvention::kV2, 1.0)};
    problem.counts = {2};
    fill(&problem, &random);
    const Bench bench(device, problem);
    MaskDeviceLayout layout = problem.layout();
    std::vector<std::max_align_t> host(mask_descriptor_bytes(layout) / sizeof(std::max_align_t) + 1);
    MaskGrid grid = problem.grids[0];
    grid.height = 0;
    CHECK(says(describe_masks(layout, &grid, host.data()), "is not one of plan_mask_grid's"));
    grid = problem.grids[0];
    grid.prototype_width = 23;
    CHECK(says(describe_masks(layout, &grid, host.data()), "grids[0] is planned for prototypes of 16 x 23"));
    CHECK(says(describe_masks(layout, nullptr, host.data()), "grids or host_descriptors is a null pointer"));
    layout.most_grid_width = 29;
    CHECK(says(describe_masks(layout, &problem.grids[0], host.data()), "layout has room for 20 x 29"));
    layout.most_grid_width = 0;
    CHECK(says(describe_masks(layout, &problem.grids[0], host.data()), "layout.most_grid_width is 0"));
    CHECK(mask_descriptor_bytes(layout) == 0 && mask_scratch_bytes(layout, 0) == 0);
    layout = problem.layout();

    DeviceMemory memory(device, 1 << 16, "memory");
    const DeviceMaskResults results{memory.as<MaskSummary>(), memory.as<MaskRecord>(), memory.as<void>(), 16};
    const auto call = [&](const DeviceMaskSources& sources, const DeviceMaskResults& to) {
        return masks_to_bits_on_device(*device, layout, sources, bench.descriptors(), to, memory.as<void>(), nullptr);
    };
    DeviceMaskSources wrong = bench.sources;
    wrong.prototypes.shape[3] = 23;
    CHECK(says(call(wrong, results), "prototypes"));
    wrong = bench.sources;
    wrong.prototypes.dtype = DataType::kUint8;
    CHECK(says(call(wrong, results), "prototypes is neither float32, float16 nor bfloat16"));
    wrong = bench.sources;
    wrong.coefficient_level_count = 9;
    CHECK(says(call(wrong, results), "coefficient_level_count is 9"));
    wrong.coefficient_level_count = 0;
    CHECK(says(call(wrong, results), "coefficient_rows has shape"));
    wrong = bench.sources;
    wrong.anchor_indices = nullptr;
    CHECK(says(call(wrong, results), "anchor_indices is a null pointer"));
    wrong = bench.sources;
    wrong.boxes = nullptr;
    CHECK(says(call(wrong, results), "boxes is a null pointer"));
    wrong.boxes = bench.sources.boxes + 1;
    CHECK(says(call(wrong, results), "boxes is not aligned to 16 bytes"));
    DeviceMaskResults no_room = results;
    no_room.arena_capacity = -1;
    CHECK(says(call(bench.sources, no_room), "results.arena_capacity is -1"));

    // What was copied may be anything.
    Polygons polygons;
    RunLengths lengths;
    const std::vector<std::uint64_t> bits(8);
    const std::vector<std::int32_t> runs = {5, 3, 7, 9, 1000, 2000};
    const MaskSummary summary;
    const MaskRecord records[] = {{0, 0, 64, 8, 1, 8}, {0, 0, 65, 8, 0, 8}, {0, 0, 1, 1, 0, 3},
                                  {-1, 0, 1, 1, 0, 1}, {0, 0, 1, 1, -1, 1}, {0, 0, 1, 1, 2, -1}};
    for (const MaskRecord& record : records) {
        CHECK(says(polygons_from_bits(summary, &record, 1, bits.data(), 8, ContourChoice::kAll, &polygons),
                   "records[0]"));
        CHECK(
            says(run_lengths_from_runs(summary, &record, 1, runs.data(), 4, problem.grids[0], &lengths), "records[0]"));
    }
    const MaskRecord beyond{0, 0, 1, 1, 2, 4};
    CHECK(says(run_lengths_from_runs(summary, &beyond, 1, runs.data(), 6, problem.grids[0], &lengths), "records[0]"));
    const MaskRecord empty{0, 0, 0, 1 << 30, 0, 0};
    CHECK(polygons_from_bits(summary, &empty, 1, nullptr, 0, ContourChoice::kAll, &polygons).ok());
    CHECK(polygons.areas == std::vector<std::int64_t>{0});
}

}  // namespace

int main() {
    check_awkward();
    check_large();
    check_graph();
    check_wrong_arguments();
    return 0;
}
