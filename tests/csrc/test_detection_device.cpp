// The CUDA kernels of detection, run on the emulated device: the same bits as the CPU ops under every schedule, nothing
// wrong found, no more moved than must be.

#include <chrono>
#include <limits>
#include <string>

#include "detection_bench.h"
#include "schedules.h"

using namespace rfkernels;
using emulation::Emulator;

namespace {

std::size_t found_in(const std::vector<Detections>& results) {
    std::size_t count = 0;
    for (const Detections& result : results) count += result.scores.size();
    return count;
}

/// Under every schedule; each launch leaves the scratch as the next one must find it.
void test_under_schedules(const Case& tested) {
    Bench bench(tested);
    const std::vector<Detections> expected = bench.expected();
    for (const Schedule& schedule : kSchedules) {
        Emulator::instance().options = schedule.options(7);
        CHECK(bench.launch().ok());
        bench.check(expected, schedule.name);
    }
    CHECK(found_in(expected) > 0 || tested.confidence == 1.0f);
}

const std::vector<AnchorGrid> kAwkward = {{5, 7, 8}, {12, 13, 16}, {1, 3, 32}};
const std::vector<AnchorGrid> kWhole = {{8, 20, 8}, {4, 10, 16}, {2, 4, 32}};
const std::vector<AnchorGrid> kFull = {{80, 80, 8}, {40, 40, 16}, {20, 20, 32}};
const std::vector<AnchorGrid> kLarge = {{160, 160, 8}, {80, 80, 16}, {40, 40, 32}};

void test_awkward_heads() {
    const DataType dtypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};
    const Layout layouts[] = {Layout::kPlanes, Layout::kPaddedPlanes, Layout::kRows, Layout::kPaddedRows};
    const std::int64_t class_counts[] = {3, 33, 1, 17, 80};
    const std::int64_t reg_maxs[] = {16, 1, 5};
    int number = 0;
    for (const DataType dtype : dtypes) {
        for (const Layout layout : layouts) {
            Case tested;
            tested.grids = number % 2 == 0 ? kWhole : kAwkward;
            tested.batch = number == 5 ? 3 : 1 + number % 2;
            tested.class_count = class_counts[number % 5];
            tested.reg_max = reg_maxs[number % 3];
            tested.dtype = dtype;
            tested.layout = layout;
            // Other numbers for the same layout of another dtype.
            const int kind = (number + number / 4) % 4;
            tested.numbers = kind == 3   ? Case::Numbers::kAnything
                             : kind == 1 ? Case::Numbers::kTies
                                         : Case::Numbers::kNoise;
            tested.confidence = number % 4 == 0 ? 0.7f : 0.4f;
            tested.class_thresholds = number % 3 == 2;
            tested.filters = number % 3 != 1;
            tested.stage = number % 2 == 0 ? ClassFilterStage::kAfterCut : ClassFilterStage::kBeforeSuppression;
            tested.convention = number % 2 == 0 ? BoxConvention::kUltralytics : BoxConvention::kV2;
            tested.agnostic = number % 4 == 2;
            tested.max_detections = number % 3 == 0 ? 300 : 20;
            tested.room = 30;
            tested.max_detections = std::min(tested.max_detections, tested.room);
            tested.name = "awkward heads " + std::to_string(number++);
            test_under_schedules(tested);
        }
    }
}

void test_awkward_decoded() {
    int number = 0;
    for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
        for (const Layout layout : {Layout::kPlanes, Layout::kPaddedRows}) {
            Case tested;
            tested.decoded_anchors = number % 2 == 0 ? 344 : 259;
            tested.batch = 1 + number % 2;
            tested.class_count = 1 + 6 * (number % 3);
            tested.dtype = dtype;
            tested.layout = layout;
            tested.numbers = number % 3 == 2   ? Case::Numbers::kTies
                             : number % 3 == 1 ? Case::Numbers::kAnything
                                               : Case::Numbers::kNoise;
            tested.class_thresholds = number % 3 == 1;
            tested.filters = true;
            tested.stage = number % 2 == 1 ? ClassFilterStage::kAfterCut : ClassFilterStage::kBeforeSuppression;
            tested.convention = number % 2 == 1 ? BoxConvention::kUltralytics : BoxConvention::kV2;
            tested.room = tested.max_detections = number % 2 == 0 ? 40 : 300;
            tested.name = "awkward decoded " + std::to_string(number++);
            test_under_schedules(tested);
        }
    }
}

/// Candidates in one window, in several, of one score, and more kept ones than shared memory holds.
void test_many_candidates() {
    Case tested;
    tested.decoded_anchors = 1024;
    tested.confidence = 0.0f;
    tested.class_count = 2;
    for (const std::int64_t anchors : {1024, 1025, 1300, 2500}) {
        tested.decoded_anchors = anchors;
        tested.numbers = anchors == 2500   ? Case::Numbers::kTies
                         : anchors == 1300 ? Case::Numbers::kEqual
                                           : Case::Numbers::kNoise;
        tested.iou = anchors > 1025 ? 1.0 : 0.3;
        tested.room = tested.max_detections = anchors == 2500 ? 700 : anchors == 1024 ? 64 : 5000;
        tested.name = std::to_string(anchors) + " candidates";
        test_under_schedules(tested);
    }
    tested.grids = kWhole;
    tested.name = "no candidates";
    tested.confidence = 1.0f;
    test_under_schedules(tested);
    tested.name = "no room";
    tested.confidence = 0.4f;
    tested.room = tested.max_detections = 0;
    Bench bench(tested);
    Emulator::instance().options = {};
    CHECK(bench.launch().ok());
    const std::vector<Detections> expected = bench.expected();
    CHECK(expected[0].overflowed && expected[0].scores.empty());
    bench.check(expected, "once");
}

void test_once(const Case& tested, std::size_t least, std::size_t most) {
    Bench bench(tested);
    const std::vector<Detections> expected = bench.expected();
    Emulator::instance().options = {};
    CHECK(bench.launch().ok());
    bench.check(expected, "once");
    const std::size_t found = found_in(expected);
    std::printf("%s: %zu detections\n", tested.name.c_str(), found);
    CHECK(found >= least && found <= most);
}

/// A score must be greater than the threshold.
void test_score_at_threshold() {
    Case tested;
    tested.numbers = Case::Numbers::kEqual;
    for (const bool is_decoded : {false, true}) {
        if (is_decoded) tested.decoded_anchors = 40;
        tested.grids = is_decoded ? std::vector<AnchorGrid>() : kAwkward;
        tested.confidence = sigmoid(1.0f);
        tested.name = "at the threshold";
        test_once(tested, 0, 0);
        tested.confidence = std::nextafter(tested.confidence, 0.0f);
        tested.name = "above the threshold";
        test_once(tested, 1, 300);
    }
}

void test_full_sizes() {
    Case tested;
    tested.class_count = 80;
    tested.grids = kFull;
    tested.numbers = Case::Numbers::kScene;
    tested.batch = 3;
    tested.dtype = DataType::kFloat16;
    tested.name = "8400 anchors, float16";
    test_once(tested, 30, 900);
    tested.batch = 1;
    tested.layout = Layout::kRows;
    tested.dtype = DataType::kBfloat16;
    tested.name = "8400 anchors, bfloat16, anchor by anchor";
    test_once(tested, 10, 300);
    tested.layout = Layout::kPlanes;
    tested.dtype = DataType::kFloat32;
    tested.numbers = Case::Numbers::kTies;
    tested.confidence = 0.0f;
    tested.name = "8400 anchors, all of them candidates";
    test_once(tested, 300, 300);
    tested.grids = kLarge;
    tested.numbers = Case::Numbers::kScene;
    tested.dtype = DataType::kFloat16;
    tested.confidence = 0.005f;
    tested.name = "33600 anchors";
    test_once(tested, 100, 300);
    tested.grids.clear();
    tested.decoded_anchors = 8400;
    tested.dtype = DataType::kFloat32;
    tested.numbers = Case::Numbers::kNoise;
    tested.confidence = 0.97f;
    tested.name = "8400 anchors, decoded";
    test_once(tested, 100, 300);
}

/// A graph goes on to serve other images with other thresholds, by other descriptors.
void test_graph() {
    Case tested;
    tested.grids = kAwkward;
    tested.filters = true;
    tested.room = 40;
    tested.max_detections = 40;
    tested.batch = 2;
    tested.name = "graph";
    Bench bench(tested);
    Emulator::instance().options = {};
    Graph graph = nullptr;
    CHECK(bench.device->begin_capture(bench.stream).ok());
    CHECK(bench.launch().ok());
    CHECK(bench.device->end_capture(bench.stream, &graph).ok());
    for (int time = 0; time < 3; ++time) {
        CHECK(bench.device->launch_graph(graph, bench.stream).ok());
        bench.check(bench.expected(), "replayed");
        bench.params.confidence = 0.5f + 0.1f * static_cast<float>(time);
        bench.params.wanted_classes = nullptr;
        bench.params.box_convention = BoxConvention::kUltralytics;
        bench.params.suppression.class_agnostic = true;
        bench.params.suppression.max_detections = 7;
        bench.images[0].placement.left += 5;
        bench.images[1].image_width = 60;
        bench.describe();
    }
    CHECK(bench.device->destroy_graph(graph).ok());

    // What is asked for is more than there is room for.
    bench.params.suppression.max_detections = 40;
    const std::vector<Detections> expected = bench.expected();
    bench.params.suppression.max_detections = 1000;
    bench.params.confidence = 0.7f;
    bench.describe();
    CHECK(bench.launch().ok());
    bench.check(expected, "little room");
}

bool refused(const Status& status, const char* naming) {
    const bool is_right = status.code() == StatusCode::kInvalidArgument &&
                          std::string(status.message()).find(naming) != std::string::npos;
    if (!is_right) std::fprintf(stderr, "wanted a word of %s: %s\n", naming, status.message());
    return is_right;
}

void test_errors() {
    Case tested;
    tested.grids = kAwkward;
    tested.name = "errors";
    Bench bench(tested);
    Emulator::instance().options = {};
    // Descriptors of another number of classes: a flag, and no detections.
    alignas(16) unsigned char bytes[256];
    CHECK(detection_descriptor_bytes(1, 2) <= sizeof(bytes));
    CHECK(describe_detection(bench.images.data(), 1, 2, bench.params, bytes, sizeof(bytes)).ok());
    // No byte more than theirs: nothing beyond the header is read.
    const std::size_t told = detection_descriptor_bytes(1, 2);
    bench.descriptors = std::make_unique<OnDevice>(*bench.device, told, "descriptors of two classes");
    CHECK(bench.device->copy(bench.descriptors->get(), bytes, told, CopyDirection::kToDevice, bench.stream).ok());
    CHECK(bench.launch().ok());
    CHECK(bench.device->synchronize(bench.stream).ok());
    check_no_findings("wrong descriptors");
    CHECK(bench.results->flags.download<std::uint32_t>(bench.stream)[0] == kWrongDescriptors);
    CHECK(bench.results->counts.download<std::int32_t>(bench.stream)[0] == 0);
    CHECK(bench.results->scores.download<float>(bench.stream)[0] == 0.0f);

    DetectionParams params;
    CHECK(refused(describe_detection(bench.images.data(), 1, 2, params, bytes, 16), "descriptors"));
    CHECK(refused(describe_detection(bench.images.data(), 1, 0, params, bytes, sizeof(bytes)), "class_count"));
    CHECK(refused(describe_detection(bench.images.data(), 1, 2, params, nullptr, sizeof(bytes)), "descriptors"));
    params.confidence = 2.0f;
    CHECK(refused(describe_detection(bench.images.data(), 1, 2, params, bytes, sizeof(bytes)), "confidence"));
    params.confidence = 0.5f;
    params.suppression.iou_threshold = -1.0;
    CHECK(refused(describe_detection(bench.images.data(), 1, 2, params, bytes, sizeof(bytes)), "iou_threshold"));
    bench.images[0].image_width = 0;
    params.suppression.iou_threshold = 0.5;
    CHECK(refused(describe_detection(bench.images.data(), 1, 2, params, bytes, sizeof(bytes)), "image_sizes[0]"));

    bench.results->view.boxes += 1;
    CHECK(refused(bench.launch(), "results.boxes"));
    bench.results->view.boxes = nullptr;
    CHECK(refused(bench.launch(), "results.boxes"));
    bench.results->view.max_detections = -1;
    CHECK(refused(bench.launch(), "max_detections"));
    bench.device_levels[1].classes.dtype = DataType::kUint8;
    CHECK(refused(bench.launch(), "heads[1] classes"));
    bench.device_levels.resize(9, bench.device_levels[0]);
    CHECK(refused(bench.launch(), "9 levels"));
    HeadTensor half({1, 4, 1, 1}, DataType::kFloat16, Layout::kPlanes);
    const HeadLevel on_host{half.view(half.values.data(), Layout::kPlanes, 2),
                            half.view(half.values.data(), Layout::kPlanes, 2), 8};
    std::vector<Detections> results;
    CHECK(refused(detect_from_heads(&on_host, 1, bench.images.data(), 1, DetectionParams(), &results), "float32"));
}

struct Boxes {
    std::vector<float> corners;
    std::vector<float> scores;
    std::vector<std::int32_t> class_ids;
};

Boxes random_boxes(std::int64_t count) {
    std::mt19937 random(static_cast<std::uint32_t>(count));
    std::uniform_real_distribution<float> place(0.0f, 100.0f);
    Boxes boxes;
    for (std::int64_t i = 0; i < count; ++i) {
        const float x = place(random);
        const float y = place(random);
        for (const float corner : {x, y, x + place(random) / 3.0f, y + place(random) / 3.0f}) {
            boxes.corners.push_back(i % 50 == 7 ? place(random) : corner);  // some are inverted
        }
        if (i % 97 == 11) boxes.corners[static_cast<std::size_t>(4 * i + 2)] = INFINITY;
        boxes.scores.push_back(std::floor(place(random)) - 50.0f);
        if (i % 31 == 3) boxes.scores.back() = i % 2 == 0 ? 0.0f : -0.0f;
        boxes.class_ids.push_back(i % 3 == 0 ? std::numeric_limits<std::int32_t>::min() : std::int32_t(i % 7));
    }
    return boxes;
}

/// The kernel's answer; `claimed` is how many boxes the device says there are, or -1 where it is not asked.
Kept suppress_on_device(const Boxes& boxes, std::int32_t claimed, bool has_classes, const SuppressionParams& params,
                        const char* what, std::uint32_t other_flags) {
    const std::shared_ptr<Device> device = tested_device();
    const std::int64_t count = static_cast<std::int64_t>(boxes.scores.size());
    const std::int64_t room = std::min(count, params.max_detections);
    Kept kept;
    OnDevice corners(*device, boxes.corners.size() * 4, "boxes");
    OnDevice scores(*device, boxes.scores.size() * 4, "scores");
    OnDevice class_ids(*device, boxes.class_ids.size() * 4, "class ids");
    OnDevice numbers(*device, 12, "numbers");
    OnDevice indices(*device, static_cast<std::size_t>(room) * 4, "indices");
    OnDevice scratch(*device, nms_scratch_bytes(count, params), "scratch");
    corners.upload(boxes.corners.data(), corners.bytes(), nullptr);
    scores.upload(boxes.scores.data(), scores.bytes(), nullptr);
    class_ids.upload(boxes.class_ids.data(), class_ids.bytes(), nullptr);
    numbers.upload(&claimed, 4, nullptr);
    std::int32_t* on_device = numbers.get<std::int32_t>();
    const DeviceKept results{indices.get<std::int32_t>(), on_device + 1,
                             reinterpret_cast<std::uint32_t*>(on_device + 2)};
    CHECK(nms_on_device(*device, corners.get<float>(), scores.get<float>(),
                        has_classes ? class_ids.get<std::int32_t>() : nullptr, count,
                        claimed == -1 ? nullptr : on_device, params, results, scratch.get(), nullptr)
              .ok());
    CHECK(device->synchronize(nullptr).ok());
    check_no_findings(what);
    const std::vector<std::int32_t> said = numbers.download<std::int32_t>(nullptr);
    const std::vector<std::int32_t> all = indices.download<std::int32_t>(nullptr);
    kept.indices.assign(all.begin(), all.begin() + said[1]);
    for (std::size_t i = static_cast<std::size_t>(said[1]); i < all.size(); ++i) CHECK(all[i] == -1);
    kept.overflowed = (static_cast<std::uint32_t>(said[2]) & kOverflowed) != 0;
    CHECK((static_cast<std::uint32_t>(said[2]) & ~kOverflowed) == other_flags);
    return kept;
}

void test_nms() {
    for (const std::int64_t count : {0, 1, 2, 63, 64, 65, 700, 1023, 1024, 1025, 5000}) {
        const Boxes boxes = random_boxes(count);
        SuppressionParams params;
        params.iou_threshold = count % 2 == 0 ? 0.3 : 0.0;
        params.class_agnostic = count == 65;
        params.max_detections = count == 64 ? 5 : count == 5000 ? 2000 : std::numeric_limits<std::int64_t>::max();
        const bool has_classes = count != 63;
        Kept expected;
        CHECK(nms(boxes.corners.data(), boxes.scores.data(), has_classes ? boxes.class_ids.data() : nullptr, count,
                  params, &expected)
                  .ok());
        for (const Schedule& schedule : kSchedules) {
            // Preempted at so many accesses, many boxes take long.
            if (count == 5000 && &schedule != kSchedules) continue;
            Emulator::instance().options = schedule.options(3);
            const Kept kept = suppress_on_device(boxes, -1, has_classes, params, schedule.name, 0);
            CHECK(kept.indices == expected.indices && kept.overflowed == expected.overflowed);
        }
    }
    // How many there are is known on the device; of these, two have a NaN.
    Emulator::instance().options = {};
    Boxes boxes = random_boxes(100);
    const SuppressionParams params;
    Kept expected;
    CHECK(nms(boxes.corners.data(), boxes.scores.data(), nullptr, 70, params, &expected).ok());
    Kept kept = suppress_on_device(boxes, 70, false, params, "a number on the device", 0);
    CHECK(kept.indices == expected.indices && kept.overflowed == expected.overflowed);
    CHECK(suppress_on_device(boxes, -7, false, params, "a negative number", 0).indices.empty());
    CHECK(nms(boxes.corners.data(), boxes.scores.data(), nullptr, 98, params, &expected).ok());
    boxes.scores[98] = NAN;
    boxes.corners[4 * 99 + 3] = NAN;
    kept = suppress_on_device(boxes, 1000, false, params, "NaN", kDroppedNan);
    CHECK(kept.indices == expected.indices);
}

/// Sectors of the logits, and of the bins that candidates need: what must be read.
std::uint64_t least_bytes(Bench* bench) {
    std::uint64_t bytes = 0;
    std::vector<TensorView> views;
    for (HeadTensor& tensor : bench->classes) {
        bytes += tensor.values.size() * static_cast<std::uint64_t>(tensor.element());
        views.push_back(tensor.on_host());
    }
    std::vector<Candidates> candidates;
    CHECK(select_candidates(views.data(), std::int64_t(views.size()), bench->params, &candidates).ok());
    std::int64_t first_anchor = 0;
    std::size_t next = 0;
    std::size_t count = 0;
    for (std::size_t level = 0; level < bench->boxes.size(); ++level) {
        HeadTensor& box = bench->boxes[level];
        std::int64_t last_sector = -1;
        std::uint64_t sectors = 0;
        for (; next < candidates[0].scores.size(); ++next) {
            const std::int64_t anchor = candidates[0].anchor_indices[next] - first_anchor;
            if (anchor >= box.anchors()) break;
            const std::int64_t sector = anchor * box.element() / 32;
            if (sector != last_sector) ++sectors;
            last_sector = sector;
            ++count;
        }
        bytes += sectors * 32 * static_cast<std::uint64_t>(box.channels());
        first_anchor += box.anchors();
    }
    std::printf("%s: %zu candidates", bench->tested.name.c_str(), count);
    return bytes;
}

void test_traffic() {
    if (!counts_traffic()) return;
    Emulator& emulator = Emulator::instance();
    for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16}) {
        Case tested;
        tested.class_count = 80;
        tested.grids = kFull;
        tested.numbers = Case::Numbers::kScene;
        tested.dtype = dtype;
        tested.name = dtype == DataType::kFloat32 ? "traffic, float32" : "traffic, float16";
        Bench bench(tested);
        const std::uint64_t least = least_bytes(&bench);
        emulator.options = {};
        emulator.options.count_traffic = true;
        emulator.keep_records = true;
        CHECK(bench.launch().ok());
        bench.check(bench.expected(), "counted");
        emulator.keep_records = false;
        CHECK(emulator.records.size() == 1);
        const emulation::LaunchRecord record = std::move(emulator.records[0]);
        emulator.records.clear();
        const emulation::Traffic& traffic = record.traffic;
        std::printf(
            ", %.3f MB moved, %.3f of the least; %.2f sectors a load, at most %llu; %llu bank conflicts in %llu\n",
            static_cast<double>(traffic.moved_bytes()) * 1e-6,
            static_cast<double>(traffic.moved_bytes()) / static_cast<double>(least),
            static_cast<double>(traffic.global_loads.sectors) / static_cast<double>(traffic.global_loads.requests),
            static_cast<unsigned long long>(traffic.global_loads.most_sectors),
            static_cast<unsigned long long>(traffic.bank_conflicts),
            static_cast<unsigned long long>(traffic.shared_wavefronts));
        CHECK(traffic.moved.at("class logits").read ==
              8400 * 80 * static_cast<std::uint64_t>(bench.classes[0].element()));
        CHECK(traffic.moved_bytes() <= least + least / 10);

        // The filter alone: every request of 32 lanes x 16 bytes touches 16 sectors, and no bank is asked twice at
        // once.
        bench.params.confidence = 1.0f;
        bench.describe();
        emulator.keep_records = true;
        CHECK(bench.launch().ok());
        bench.check(bench.expected(), "filter alone");
        emulator.keep_records = false;
        const emulation::Traffic filter = std::move(emulator.records[0].traffic);
        emulator.records.clear();
        std::printf("    filter alone: %llu load requests, %llu sectors, at most %llu; %llu bank conflicts\n",
                    static_cast<unsigned long long>(filter.global_loads.requests),
                    static_cast<unsigned long long>(filter.global_loads.sectors),
                    static_cast<unsigned long long>(filter.global_loads.most_sectors),
                    static_cast<unsigned long long>(filter.bank_conflicts));
        CHECK(filter.global_loads.most_sectors == 16 && filter.bank_conflicts == 0);
    }
}

}  // namespace

int main(int argc, char** argv) {
    // One part alone, where somebody looks for a fault.
    const std::string only = argc > 1 ? argv[1] : "";
    const std::pair<const char*, void (*)()> parts[] = {
        {"heads", test_awkward_heads},  {"decoded", test_awkward_decoded},
        {"many", test_many_candidates}, {"threshold", test_score_at_threshold},
        {"full", test_full_sizes},      {"graph", test_graph},
        {"errors", test_errors},        {"nms", test_nms},
        {"traffic", test_traffic}};
    for (const auto& [name, test] : parts) {
        if (!only.empty() && only != name) continue;
        const auto begin = std::chrono::steady_clock::now();
        test();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        std::printf("%s: %.1f s\n", name, seconds.count());
    }
    return 0;
}
