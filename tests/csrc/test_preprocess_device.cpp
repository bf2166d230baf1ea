// The CUDA kernel of preprocess, run on the emulated device: the same bytes as the CPU op, under every schedule,
// nothing wrong found, no more moved than must be.

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "preprocess_bench.h"
#include "rfkernels/preprocess.h"
#include "schedules.h"

using namespace rfkernels;

namespace {

struct Case {
    Size canvas;
    DataType dtype = DataType::kFloat16;
    Interpolation interpolation = Interpolation::kBilinear;
    bool keep_padding = false;
    std::int64_t row_padding = 0;   // elements between the canvas's rows
    std::int64_t misalignment = 0;  // of an image's first byte
    bool is_pinned = false;
    enum class Mode { kLetterbox, kStretch, kCenterCrop, kShortestSide, kStaticCrop } mode = Mode::kLetterbox;
    struct Picture {
        std::int64_t height;
        std::int64_t width;
        int channels;
        std::int64_t padding;
    };
    std::vector<Picture> pictures;
};

Placement place(const Case& tested, const Case::Picture& picture) {
    Placement placement;
    Rectangle crop = whole_image(picture.height, picture.width);
    Status status;
    switch (tested.mode) {
        case Case::Mode::kLetterbox:
            status = plan_letterbox(crop, tested.canvas, SizeRounding::kTruncate, &placement);
            break;
        case Case::Mode::kStretch:
            status = plan_stretch(crop, tested.canvas, &placement);
            break;
        case Case::Mode::kCenterCrop:
            status = plan_center_crop(crop, tested.canvas, &placement);
            break;
        case Case::Mode::kShortestSide:
            status = plan_shortest_side_crop(crop, tested.canvas, &placement);
            break;
        case Case::Mode::kStaticCrop:
            status = plan_static_crop(picture.height, picture.width, 10.0, 90.0, 20.0, 85.0, &crop);
            CHECK(status.ok());
            status = plan_letterbox(crop, tested.canvas, SizeRounding::kHalfToEven, &placement);
            break;
    }
    CHECK(status.ok());
    return placement;
}

PreprocessParams params_of(const Case& tested) {
    PreprocessParams params;
    params.interpolation = tested.interpolation;
    params.swap_channels = true;
    params.keep_padding = tested.keep_padding;
    if (tested.dtype == DataType::kUint8) {
        params.normalization = Normalization::kNone;
    } else if (tested.interpolation == Interpolation::kAntialiased) {
        params.mean[0] = 0.485F;
        params.deviation[0] = 0.229F;
        params.deviation[1] = 0.224F;
    }
    return params;
}

Outcome draw_on_both(Device& device, const Case& tested) {
    std::mt19937 random(7);
    Stream stream = nullptr;
    CHECK(device.create_stream(&stream).ok());
    std::vector<std::vector<std::uint8_t>> pixels;
    std::vector<std::unique_ptr<LentPlane>> planes;
    Drawing drawing;
    drawing.params = params_of(tested);
    for (const Case::Picture& picture : tested.pictures) {
        const std::int64_t row_bytes = picture.width * picture.channels;
        const std::int64_t pitch = row_bytes + picture.padding;
        std::vector<std::uint8_t> image(static_cast<std::size_t>((picture.height - 1) * pitch + row_bytes));
        for (std::uint8_t& byte : image) byte = static_cast<std::uint8_t>(random());
        pixels.push_back(std::move(image));
        drawing.host_images.push_back(
            ImageView{pixels.back().data(), picture.height, picture.width, picture.channels, pitch});
        planes.push_back(std::make_unique<LentPlane>(device, pixels.back().data(), picture.height, row_bytes, pitch,
                                                     tested.misalignment, tested.is_pinned, stream));
        drawing.device_images.push_back(drawing.host_images.back());
        drawing.device_images.back().data = planes.back()->data();
        drawing.placements.push_back(place(tested, picture));
    }
    const auto count = static_cast<std::int64_t>(tested.pictures.size());
    const TensorView canvas = canvas_view(count, tested.canvas, tested.dtype, tested.row_padding);
    const Outcome outcome = draw_on_both(device, stream, drawing, canvas);
    CHECK(device.destroy_stream(stream).ok());
    return outcome;
}

void check_case(const std::string& name, const Case& tested, const Schedule& schedule) {
    emulation::Emulator::instance().options = schedule.options(3);
    const auto device = tested_device();
    const Outcome outcome = draw_on_both(*device, tested);
    const std::string what = name + ", " + schedule.name;
    check_no_findings(what.c_str());
    check_same(what, outcome);
}

void test_awkward_sizes() {
    struct Named {
        const char* name;
        Case tested;
    };
    using Mode = Case::Mode;
    const Named cases[] = {
        {"one pixel",
         {{1, 1}, DataType::kFloat32, Interpolation::kBilinear, false, 0, 0, false, Mode::kLetterbox, {{1, 1, 3, 0}}}},
        {"enlarged",
         {{41, 133},
          DataType::kFloat16,
          Interpolation::kBilinear,
          false,
          3,
          1,
          false,
          Mode::kLetterbox,
          {{7, 9, 3, 5}, {1, 40, 4, 0}}}},
        {"shrunk",
         {{33, 130},
          DataType::kBfloat16,
          Interpolation::kBilinear,
          false,
          0,
          2,
          false,
          Mode::kStretch,
          {{91, 401, 3, 0}, {37, 91, 1, 2}}}},
        {"far apart",
         {{9, 130},
          DataType::kUint8,
          Interpolation::kBilinear,
          false,
          1,
          3,
          false,
          Mode::kStretch,
          {{12, 2600, 3, 0}}}},
        {"middle",
         {{20, 30},
          DataType::kFloat32,
          Interpolation::kBilinear,
          false,
          0,
          0,
          false,
          Mode::kCenterCrop,
          {{50, 60, 3, 0}, {11, 13, 3, 1}, {10, 60, 4, 0}}}},
        {"cropped",
         {{64, 140},
          DataType::kFloat16,
          Interpolation::kBilinear,
          false,
          0,
          1,
          true,
          Mode::kStaticCrop,
          {{67, 93, 3, 4}}}},
        {"padding kept",
         {{48, 141},
          DataType::kFloat16,
          Interpolation::kBilinear,
          true,
          0,
          0,
          false,
          Mode::kLetterbox,
          {{40, 30, 3, 0}}}},
        {"antialiased, enlarged",
         {{30, 140},
          DataType::kFloat32,
          Interpolation::kAntialiased,
          false,
          0,
          1,
          false,
          Mode::kStretch,
          {{7, 9, 3, 5}, {20, 150, 1, 0}}}},
        {"antialiased, shrunk",
         {{24, 30},
          DataType::kFloat16,
          Interpolation::kAntialiased,
          false,
          0,
          0,
          true,
          Mode::kShortestSide,
          {{90, 130, 3, 0}, {61, 47, 4, 3}}}},
        {"antialiased, far apart",
         {{5, 129},
          DataType::kUint8,
          Interpolation::kAntialiased,
          false,
          0,
          2,
          false,
          Mode::kStretch,
          {{17, 2601, 3, 0}}}},
    };
    for (const Named& named : cases) {
        for (const Schedule& schedule : kSchedules) check_case(named.name, named.tested, schedule);
    }
}

const char* text(const emulation::RequestCounts& counts, char* buffer, std::size_t size) {
    std::snprintf(buffer, size, "%llu requests, %.2f sectors each (at most %llu)",
                  static_cast<unsigned long long>(counts.requests),
                  static_cast<double>(counts.sectors) / static_cast<double>(counts.requests),
                  static_cast<unsigned long long>(counts.most_sectors));
    return buffer;
}

/// 1080p to 640 x 640 float16: floor 2.07 MB read (360 rows) and 2.46 MB written.
void test_full_size() {
    Case tested;
    tested.canvas = {640, 640};
    tested.pictures = {{1080, 1920, 3, 0}};
    emulation::Emulator& emulator = emulation::Emulator::instance();
    emulator.options = kSchedules[2].options(5);
    emulator.options.count_traffic = true;
    emulator.keep_records = true;
    emulator.records.clear();
    const auto device = tested_device();
    const DeviceCounters before = device->counters();
    const Outcome outcome = draw_on_both(*device, tested);
    check_no_findings("1080p");
    CHECK(outcome.expected == outcome.actual);
    CHECK(device->counters().kernel_launches - before.kernel_launches == 1);
    emulator.keep_records = false;
    if (!counts_traffic()) return;
    CHECK(emulator.records.size() == 1);
    const emulation::Traffic& traffic = emulator.records[0].traffic;
    const double floor = 360.0 * 5760.0 + 3.0 * 640.0 * 640.0 * 2.0;
    char loads[100];
    char stores[100];
    std::printf("1080p -> 640 float16: %.3f MB moved, %.3f of the floor; loads: %s; stores: %s; bank conflicts: %llu\n",
                static_cast<double>(traffic.moved_bytes()) / 1e6, static_cast<double>(traffic.moved_bytes()) / floor,
                text(traffic.global_loads, loads, sizeof(loads)), text(traffic.global_stores, stores, sizeof(stores)),
                static_cast<unsigned long long>(traffic.bank_conflicts));
    CHECK(static_cast<double>(traffic.moved_bytes()) <= 1.10 * floor);
    CHECK(traffic.global_loads.sectors <= 4 * traffic.global_loads.requests);
    CHECK(traffic.bank_conflicts == 0);
}

void test_larger_pictures() {
    Case tested;
    tested.canvas = {224, 224};
    tested.dtype = DataType::kFloat32;
    tested.interpolation = Interpolation::kAntialiased;
    tested.mode = Case::Mode::kShortestSide;
    tested.pictures = {{480, 641, 3, 0}, {1080, 1920, 3, 0}};
    check_case("1080p -> 224, antialiased", tested, kSchedules[0]);
    tested.canvas = {640, 640};
    tested.dtype = DataType::kBfloat16;
    tested.interpolation = Interpolation::kBilinear;
    tested.mode = Case::Mode::kLetterbox;
    tested.pictures = {{2160, 3840, 3, 0}, {480, 641, 3, 0}};
    check_case("4K and VGA -> 640", tested, kSchedules[3]);
}

}  // namespace

int main() {
    test_awkward_sizes();
    test_full_size();
    test_larger_pictures();
    return 0;
}
