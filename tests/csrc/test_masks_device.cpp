// Masks drawn on a device against those of the CPU op, bit for bit: every form, convention, type and layout, under
// every schedule of the emulated device, which may find nothing wrong with the kernels; and what they move.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "device_bench.h"
#include "emulation/emulation.h"
#include "mask_problems.h"
#include "rfkernels/device.h"
#include "rfkernels/masks.h"
#include "rfkernels/preprocess.h"
#include "schedules.h"

namespace {

using namespace rfkernels::test;  // what this test is made of
using rfkernels::ContourChoice;
using rfkernels::DataType;
using rfkernels::Device;
using rfkernels::DeviceMaskResults;
using rfkernels::DeviceMaskSources;
using rfkernels::MaskConvention;
using rfkernels::MaskDeviceLayout;
using rfkernels::MaskGrid;
using rfkernels::MaskRecord;
using rfkernels::MaskSummary;
using rfkernels::Polygons;
using rfkernels::RunLengths;
using rfkernels::Status;
using rfkernels::TensorView;
using rfkernels::emulation::Emulator;
using rfkernels::emulation::Finding;

void set_box(Problem* problem, std::int64_t place, const std::vector<float>& box) {
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
    problem->coefficients[static_cast<std::size_t>(7 * problem->channels)] = kNan;
    // Values of exactly 0, which is not inside.
    set_box(problem, 8, {0.0F, 0.0F, width, height});
    for (std::int64_t channel = 0; channel < problem->channels; ++channel)
        problem->coefficients[static_cast<std::size_t>(8 * problem->channels + channel)] = 0.0F;
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
            if (size.prototype_width > 1000 && kind == 1) continue;  // a grid as wide as that network takes long
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
            const MaskConvention convention = kind == 4 ? MaskConvention::kUltralyticsNative : kConventions[kind % 3];
            if (kind == 4) problem.placing = Placing::kCentred;
            // All of the widest prototypes go into a few pixels: more than a block keeps of one row.
            if (size.prototype_width > 1000) problem.placing = Placing::kStretched;
            const double factor = kind == 3 ? 0.3 : 1.0;
            for (int image = 0; image < 2; ++image) {
                const std::int64_t height = size.heights[image], width = size.widths[image];
                // A static crop of the first image, where it is large enough for one.
                const rfkernels::Rectangle part{width / 3, height / 4, width - width / 2, height - height / 2};
                problem.grids.push_back(
                    grid_of(problem, height, width, convention, factor, kind == 3 && image == 0 ? &part : nullptr));
            }
            problem.counts = {9, number % 4 == 0 ? 0 : 5};
            fill(&problem, &random);
            put_awkward_boxes(&problem);
            if (size.prototype_width > 1000) {
                // Inside as a whole, though the last of the columns, for themselves, are outside.
                for (std::size_t i = 0; i < problem.prototypes.size(); ++i)
                    problem.prototypes[i] = i % 1400 < 1200 ? 2.0F : -2.0F;
                problem.coefficients[0] = problem.coefficients[1] = 1.0F;
            }
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
    const std::shared_ptr<Device> device = tested_device();
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
    const bool has_hooks = counts_traffic();
    emulator.options = kSchedules[0].options(1);
    emulator.options.count_traffic = has_hooks;
    emulator.keep_records = true;
    emulator.records.clear();
    Drawn<Element> result = drawn<Element>(bench, call, capacity);
    check_no_findings("counted");
    emulator.keep_records = false;
    if (!has_hooks) return result;
    const Moved moved = moved_by_records();
    CHECK(moved.launches == launches);
    const std::uint64_t to_host =
        static_cast<std::uint64_t>(result.summary.needed) * sizeof(Element) + bench.slots() * sizeof(MaskRecord) + 16;
    std::printf("%d masks: %.2f MB moved in all, %.2f MB to the host\n", static_cast<int>(bench.problem.counts[0]),
                static_cast<double>(moved.bytes) * 1e-6, static_cast<double>(to_host) * 1e-6);
    CHECK(moved.bytes <= most_bytes && to_host < 2000000);
    CHECK(moved.conflicts * 50 <= moved.wavefronts);
    return result;
}

void check_large() {
    const std::shared_ptr<Device> device = tested_device();
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

/// More detections than a block has lanes and more tiles than there are blocks: what is done in turns.
void check_many() {
    const std::shared_ptr<Device> device = tested_device();
    std::mt19937 random(31);
    Problem problem;
    problem.prototype_height = 2;
    problem.prototype_width = 12;
    problem.channels = 3;
    problem.max_detections = 300;
    problem.dtype = DataType::kBfloat16;
    problem.has_rows = true;
    for (const std::int64_t width : {140, 135})
        problem.grids.push_back(grid_of(problem, 9, width, MaskConvention::kUltralyticsNative, 1.0));
    problem.counts = {300, 290};
    fill(&problem, &random);
    for (std::size_t i = 0; i < problem.boxes.size(); i += 4) {
        problem.boxes[i] = static_cast<float>(i % 3);
        problem.boxes[i + 2] = 48.0F - static_cast<float>(i % 3);
    }
    const std::vector<Expected> expected = expected_of(problem);
    const Bench bench(device, problem);
    Emulator::instance().options = kSchedules[1].options(1);
    const Needed needed = needed_by(bench);
    Emulator::instance().options = kSchedules[4].options(1);
    check_all(bench, expected, needed, false, "many");
}

/// A graph holds for other images: only descriptors and counts are exchanged.
void check_graph() {
    const std::shared_ptr<Device> device = tested_device();
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
    const std::shared_ptr<Device> device = tested_device();
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

    // Nothing that is written may lie in anything else.
    const auto at = [&](std::size_t bytes) { return memory.as<unsigned char>() + bytes; };
    struct Places {
        const void* summary;
        const void* records;
        const void* arena;
        const void* scratch;
    };
    const auto call_at = [&](const DeviceMaskSources& sources, const Places& places) {
        const DeviceMaskResults to{static_cast<MaskSummary*>(const_cast<void*>(places.summary)),
                                   static_cast<MaskRecord*>(const_cast<void*>(places.records)),
                                   const_cast<void*>(places.arena), 16};
        return masks_to_bits_on_device(*device, layout, sources, bench.descriptors(), to,
                                       const_cast<void*>(places.scratch), nullptr);
    };
    const Places apart{at(0), at(256), at(1024), at(4096)};
    Places places = apart;
    places.arena = bench.sources.prototypes.data;
    CHECK(says(call_at(bench.sources, places), "results.arena overlaps prototypes"));
    places.arena = bench.sources.boxes;
    CHECK(says(call_at(bench.sources, places), "results.arena overlaps boxes"));
    places.arena = bench.sources.coefficient_levels[0].data;
    CHECK(says(call_at(bench.sources, places), "results.arena overlaps coefficient_levels[0]"));
    places.arena = at(256 + 16);
    CHECK(says(call_at(bench.sources, places), "results.arena overlaps results.records"));
    places.arena = at(4096 - 16 * 8 + 16);  // 16 elements of 8 bytes
    CHECK(says(call_at(bench.sources, places), "results.arena overlaps scratch"));
    places = apart;
    places.records = bench.sources.anchor_indices;
    CHECK(says(call_at(bench.sources, places), "results.records overlaps anchor_indices"));
    places = apart;
    places.summary = bench.sources.counts;
    CHECK(says(call_at(bench.sources, places), "results.summary overlaps counts"));
    places = apart;
    places.scratch = bench.descriptors();
    CHECK(says(call_at(bench.sources, places), "scratch overlaps device_descriptors"));
    DeviceMaskSources rows = bench.sources;
    rows.coefficient_level_count = 0;
    rows.coefficient_rows = TensorView{};
    rows.coefficient_rows.data = at(1024);
    rows.coefficient_rows.rank = 3;
    rows.coefficient_rows.shape = {1, 2, 8};
    rows.coefficient_rows.strides = {64, 32, 4};
    CHECK(says(call_at(rows, apart), "results.arena overlaps coefficient_rows"));

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
    check_many();
    check_graph();
    check_wrong_arguments();
    return 0;
}
