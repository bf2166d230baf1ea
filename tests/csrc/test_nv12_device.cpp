// NV12 images through the CUDA kernel of preprocess, run on the emulated device: the bytes of the CPU op on the packed
// pictures that they stand for, under every schedule, alone and beside packed images; nothing wrong found, no more
// moved than must be.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "device_bench.h"
#include "nv12_pictures.h"
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

/// Rows of a plane in memory of the device, or of the host where it is pinned; what lies between rows is nobody's.
class LentPlane {
  public:
    LentPlane(Device& device, const std::uint8_t* rows, std::int64_t row_count, std::int64_t row_bytes,
              std::int64_t pitch, std::int64_t misalignment, bool is_pinned, Stream stream)
        : device_(device) {
        const std::size_t bytes = static_cast<std::size_t>((row_count - 1) * pitch + row_bytes + misalignment);
        if (is_pinned) {
            CHECK(device.allocate_pinned(bytes, "plane", &pinned_).ok());
            data_ = static_cast<std::uint8_t*>(pinned_) + misalignment;
        } else {
            lent_ = std::make_unique<OnDevice>(device, bytes, "plane");
            data_ = lent_->get<std::uint8_t>() + misalignment;
        }
        for (std::int64_t row = 0; row < row_count; ++row) {
            const std::size_t count = static_cast<std::size_t>(row_bytes);
            if (is_pinned) {
                std::memcpy(data_ + row * pitch, rows + row * pitch, count);
            } else {
                CHECK(
                    device.copy(data_ + row * pitch, rows + row * pitch, count, CopyDirection::kToDevice, stream).ok());
            }
        }
    }
    ~LentPlane() {
        if (pinned_ != nullptr) CHECK(device_.release_pinned(pinned_).ok());
    }
    LentPlane(const LentPlane&) = delete;
    LentPlane& operator=(const LentPlane&) = delete;
    const std::uint8_t* data() const { return data_; }

  private:
    Device& device_;
    std::unique_ptr<OnDevice> lent_;
    void* pinned_ = nullptr;
    std::uint8_t* data_ = nullptr;
};

Placement place(const Case& tested, const Case::Picture& picture) {
    Placement placement;
    const bool is_whole = picture.crop.width == 0;
    const Status status = is_whole ? plan_stretch(whole_image(picture.height, picture.width), tested.canvas, &placement)
                                   : plan_letterbox(picture.crop, tested.canvas, SizeRounding::kTruncate, &placement);
    CHECK(status.ok());
    return placement;
}

struct Outcome {
    std::vector<unsigned char> expected;
    std::vector<unsigned char> actual;
};

Outcome draw_on_both(Device& device, const Case& tested) {
    std::mt19937 random(7);
    Stream stream = nullptr;
    CHECK(device.create_stream(&stream).ok());
    std::vector<std::vector<std::uint8_t>> pixels;
    std::vector<std::unique_ptr<LentPlane>> planes;
    std::vector<ImageView> packed_images;
    std::vector<ImageView> device_images;
    std::vector<Placement> placements;
    for (const Case::Picture& picture : tested.pictures) {
        const Nv12Picture noise(picture.height, picture.width, picture.luma_padding, picture.chroma_padding, random);
        pixels.push_back(noise.bgr());
        packed_images.push_back(packed_view(pixels.back(), picture.height, picture.width));
        placements.push_back(place(tested, picture));
        if (picture.is_packed) {
            const ImageView& packed = packed_images.back();
            planes.push_back(std::make_unique<LentPlane>(device, packed.data, packed.height, packed.width * 3,
                                                         packed.row_pitch, picture.luma_misalignment, picture.is_pinned,
                                                         stream));
            device_images.push_back(packed);
            device_images.back().data = planes.back()->data();
            continue;
        }
        const auto lend = [&](const Plane& plane, std::int64_t misalignment) {
            planes.push_back(std::make_unique<LentPlane>(device, plane.bytes.get(), plane.rows, plane.row_bytes,
                                                         plane.pitch, misalignment, picture.is_pinned, stream));
            return planes.back()->data();
        };
        const std::uint8_t* luma = lend(noise.luma, picture.luma_misalignment);
        const std::uint8_t* chroma = lend(noise.chroma, picture.chroma_misalignment);
        device_images.push_back(
            nv12_view(luma, picture.height, picture.width, noise.luma.pitch, chroma, noise.chroma.pitch));
    }
    const std::int64_t count = static_cast<std::int64_t>(tested.pictures.size());
    PreprocessParams params;
    params.interpolation = tested.interpolation;
    params.swap_channels = tested.canvas.width % 2 == 0;
    if (tested.dtype == DataType::kUint8) params.normalization = Normalization::kNone;

    const std::int64_t element = tested.dtype == DataType::kUint8 ? 1 : tested.dtype == DataType::kFloat32 ? 4 : 2;
    const std::int64_t row = tested.canvas.width * element;
    const std::int64_t plane = row * tested.canvas.height;
    TensorView destination;
    destination.dtype = tested.dtype;
    destination.rank = 4;
    destination.shape = {count, 3, tested.canvas.height, tested.canvas.width};
    destination.strides = {3 * plane, plane, row, element};

    Outcome outcome;
    outcome.expected.assign(static_cast<std::size_t>(3 * plane * count), 0x5A);
    destination.data = outcome.expected.data();
    CHECK(preprocess(packed_images.data(), placements.data(), count, params, destination, nullptr).ok());

    OnDevice canvas(device, outcome.expected.size(), "canvas");
    canvas.fill(0x5A, stream);
    destination.data = canvas.get();
    const std::size_t descriptor_bytes =
        preprocess_descriptor_bytes(placements.data(), count, params.interpolation, tested.canvas);
    std::vector<max_align_t> descriptors(descriptor_bytes / sizeof(max_align_t) + 1);
    CHECK(describe_preprocess(device_images.data(), placements.data(), count, params, destination, descriptors.data(),
                              descriptor_bytes)
              .ok());
    OnDevice described(device, descriptor_bytes, "descriptors");
    described.upload(descriptors.data(), descriptor_bytes, stream);
    const Status status =
        preprocess_on_device(device, described.get(), count, params.interpolation, destination, stream);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
    CHECK(status.ok());
    outcome.actual = canvas.download<unsigned char>(stream);
    CHECK(device.destroy_stream(stream).ok());
    return outcome;
}

void check_case(const std::string& name, const Case& tested, const Schedule& schedule) {
    emulation::Emulator::instance().options = schedule.options(3);
    const auto device = tested_device();
    const Outcome outcome = draw_on_both(*device, tested);
    const std::string what = name + ", " + schedule.name;
    check_no_findings(what.c_str());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < outcome.expected.size(); ++i) {
        if (outcome.expected[i] != outcome.actual[i] && differing++ == 0) {
            std::fprintf(stderr, "%s: byte %zu is %d, not %d\n", what.c_str(), i, outcome.actual[i],
                         outcome.expected[i]);
        }
    }
    CHECK(differing == 0);
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
