// NV12 images through the CUDA kernel of preprocess, run on the emulated device: the bytes of the CPU op on the packed
// pictures that they stand for, under every schedule, alone and beside packed images; nothing wrong found, no more
// moved than must be.

#include <memory>
#include <string>
#include <vector>

#include "nv12_pictures.h"
#include "preprocess_bench.h"
#include "rfkernels/preprocess.h"
#include "schedules.h"

using namespace rfkernels;

namespace {

struct Case {
    Size canvas;
    DataType dtype = DataType::kFloat16;
    Interpolation interpolation = Interpolation::kBilinear;
    /// Of each image: resized to all of the canvas where the crop is empty; or the crop, fitted into it.
    struct Picture {
        std::int64_t height;
        std::int64_t width;
        Rectangle crop{};
        bool is_packed = false;
        std::int64_t luma_padding = 0;
        std::int64_t chroma_padding = 0;
        std::int64_t luma_misalignment = 0;
        std::int64_t chroma_misalignment = 0;
        bool is_pinned = false;
    };
    std::vector<Picture> pictures;
};

Placement place(const Case& tested, const Case::Picture& picture) {
    Placement placement;
    const bool is_whole = picture.crop.width == 0;
    const Status status = is_whole ? plan_stretch(whole_image(picture.height, picture.width), tested.canvas, &placement)
                                   : plan_letterbox(picture.crop, tested.canvas, SizeRounding::kTruncate, &placement);
    CHECK(status.ok());
    return placement;
}

Outcome draw_on_both(Device& device, const Case& tested) {
    std::mt19937 random(7);
    Stream stream = nullptr;
    CHECK(device.create_stream(&stream).ok());
    std::vector<std::vector<std::uint8_t>> pixels;
    std::vector<std::unique_ptr<LentPlane>> planes;
    Drawing drawing;
    for (const Case::Picture& picture : tested.pictures) {
        const Nv12Picture noise(picture.height, picture.width, picture.luma_padding, picture.chroma_padding, random);
        pixels.push_back(noise.bgr());
        drawing.host_images.push_back(packed_view(pixels.back(), picture.height, picture.width));
        drawing.placements.push_back(place(tested, picture));
        if (picture.is_packed) {
            const ImageView& packed = drawing.host_images.back();
            planes.push_back(std::make_unique<LentPlane>(device, packed.data, packed.height, packed.width * 3,
                                                         packed.row_pitch, picture.luma_misalignment, picture.is_pinned,
                                                         stream));
            drawing.device_images.push_back(packed);
            drawing.device_images.back().data = planes.back()->data();
            continue;
        }
        const auto lend = [&](const Plane& plane, std::int64_t misalignment) {
            planes.push_back(std::make_unique<LentPlane>(device, plane.bytes.get(), plane.rows, plane.row_bytes,
                                                         plane.pitch, misalignment, picture.is_pinned, stream));
            return planes.back()->data();
        };
        const std::uint8_t* luma = lend(noise.luma, picture.luma_misalignment);
        const std::uint8_t* chroma = lend(noise.chroma, picture.chroma_misalignment);
        drawing.device_images.push_back(
            nv12_view(luma, picture.height, picture.width, noise.luma.pitch, chroma, noise.chroma.pitch));
    }
    drawing.params.interpolation = tested.interpolation;
    drawing.params.swap_channels = tested.canvas.width % 2 == 0;
    if (tested.dtype == DataType::kUint8) drawing.params.normalization = Normalization::kNone;
    const auto count = static_cast<std::int64_t>(tested.pictures.size());
    const Outcome outcome = draw_on_both(device, stream, drawing, canvas_view(count, tested.canvas, tested.dtype));
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
    constexpr Rectangle kAll{};
    struct Named {
        const char* name;
        Case tested;
    };
    std::vector<Named> cases;
    for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kAntialiased}) {
        const bool is_bilinear = interpolation == Interpolation::kBilinear;
        const DataType dtype = is_bilinear ? DataType::kFloat16 : DataType::kFloat32;
        cases.push_back({"two by two", {{1, 1}, DataType::kUint8, interpolation, {{2, 2}}}});
        cases.push_back({"enlarged",
                         {{41, 133},
                          dtype,
                          interpolation,
                          {{8, 10, kAll, false, 5, 2, 1, 3}, {2, 40, kAll, false, 0, 1, 31, 30, true}}}});
        cases.push_back(
            {"shrunk", {{23, 130}, DataType::kBfloat16, interpolation, {{62, 402, kAll, false, 0, 0, 2, 5}}}});
        cases.push_back(
            {"far apart", {{5, 129}, DataType::kUint8, interpolation, {{12, 2600, kAll, false, 1, 2, 3, 0}}}});
        // More than half of the words that a warp can stage, where two planes need as many each.
        cases.push_back({"apart", {{3, 128}, DataType::kUint8, interpolation, {{6, 1700, kAll, false, 0, 1, 0, 1}}}});
        cases.push_back({"cropped at odd rows and columns",
                         {{34, 140},
                          DataType::kFloat16,
                          interpolation,
                          {{68, 94, {31, 13, 61, 40}, false, 4, 6, 1, 2, true}, {20, 30, {29, 19, 1, 1}}}}});
        cases.push_back(
            {"beside packed images",
             {{20, 30},
              DataType::kFloat32,
              interpolation,
              {{50, 60}, {12, 14, {1, 1, 12, 11}, true}, {12, 14, {1, 1, 12, 11}}, {10, 60, kAll, true, 0, 0, 1}}}});
    }
    for (const Named& named : cases) {
        for (const Schedule& schedule : kSchedules) check_case(named.name, named.tested, schedule);
    }
}

/// 1080p fitted into 640 x 640 float16. Floor: of luma and of chroma 360 rows of 1920 bytes, and 2.46 MB written.
void test_full_size() {
    Case tested;
    tested.canvas = {640, 640};
    tested.pictures = {{1080, 1920, whole_image(1080, 1920)}};
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
    const double floor = 2.0 * 360.0 * 1920.0 + 3.0 * 640.0 * 640.0 * 2.0;
    const double moved = static_cast<double>(traffic.moved_bytes());
    std::printf(
        "NV12 1080p -> 640 float16: %.3f MB moved, %.4f of the floor; %.2f sectors a load; bank conflicts: %llu\n",
        moved / 1e6, moved / floor,
        static_cast<double>(traffic.global_loads.sectors) / static_cast<double>(traffic.global_loads.requests),
        static_cast<unsigned long long>(traffic.bank_conflicts));
    CHECK(moved >= floor);
    CHECK(moved <= 1.01 * floor);
    CHECK(traffic.global_loads.sectors <= 4 * traffic.global_loads.requests);
    CHECK(traffic.bank_conflicts == 0);
}

void test_larger_pictures() {
    Case tested;
    tested.canvas = {224, 224};
    tested.dtype = DataType::kFloat32;
    tested.interpolation = Interpolation::kAntialiased;
    tested.pictures = {{480, 642, {3, 5, 601, 451}}, {1080, 1920, {419, 1, 1080, 1079}}};
    check_case("1080p -> 224, antialiased", tested, kSchedules[0]);
    tested.canvas = {640, 640};
    tested.dtype = DataType::kBfloat16;
    tested.interpolation = Interpolation::kBilinear;
    tested.pictures = {{2160, 3840, whole_image(2160, 3840)}, {480, 642, whole_image(480, 642), true}};
    check_case("4K and VGA -> 640", tested, kSchedules[3]);
}

}  // namespace

int main() {
    test_awkward_sizes();
    test_full_size();
    test_larger_pictures();
    return 0;
}
