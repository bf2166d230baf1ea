// NV12 images through preprocess, under the sanitizers: every byte of a plane lies in a heap block of exactly its size;
// on every instruction set the bytes are those of the packed picture that the planes stand for; rows without a weight
// are not read.

#include <string>

#include "check.h"
#include "nv12_pictures.h"
#include "rfkernels/instruction_set.h"
#include "rfkernels/preprocess.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

using namespace rfkernels;

namespace {

TensorView tensor(std::vector<unsigned char>& memory, DataType dtype, std::int64_t count, Size canvas) {
    const std::int64_t element = dtype == DataType::kUint8 ? 1 : dtype == DataType::kFloat32 ? 4 : 2;
    const std::int64_t plane = canvas.height * canvas.width * element;
    memory = std::vector<unsigned char>(static_cast<std::size_t>(3 * plane * count), 0xA5);
    TensorView view;
    view.data = memory.data();
    view.dtype = dtype;
    view.rank = 4;
    view.shape = {count, 3, canvas.height, canvas.width};
    view.strides = {3 * plane, plane, canvas.width * element, element};
    return view;
}

PreprocessParams params_for(DataType dtype, Interpolation interpolation, bool swap_channels) {
    PreprocessParams params;
    params.interpolation = interpolation;
    params.swap_channels = swap_channels;
    if (dtype == DataType::kUint8) params.normalization = Normalization::kNone;
    return params;
}

void expect_the_pictures_bytes(const Nv12Picture& picture, const std::vector<std::uint8_t>& bgr,
                               const Placement& placement, Size canvas, DataType dtype, Interpolation interpolation) {
    const PreprocessParams params = params_for(dtype, interpolation, canvas.width % 2 == 0);
    const ImageView packed = packed_view(bgr, picture.luma.rows, picture.luma.row_bytes);
    const ImageView planes = picture.view();
    std::vector<unsigned char> expected;
    CHECK(preprocess(&packed, &placement, 1, params, tensor(expected, dtype, 1, canvas), nullptr).ok());
    for (InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        std::vector<unsigned char> actual;
        const Status status = preprocess(&planes, &placement, 1, params, tensor(actual, dtype, 1, canvas), nullptr);
        if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
        CHECK(status.ok());
        CHECK(actual == expected);
    }
    CHECK(force_instruction_set("auto").ok());
}

void test_every_size() {
    std::mt19937 random(1);
    const Size shapes[] = {{2, 2}, {2, 6}, {6, 2}, {8, 34}, {48, 96}, {146, 98}, {2, 4000}, {4000, 2}};
    const Size canvases[] = {{1, 1}, {5, 7}, {48, 32}, {31, 97}};
    for (const Size& shape : shapes) {
        for (std::int64_t padding : {0, 5}) {
            const Nv12Picture picture(shape.height, shape.width, padding, 2 * padding, random);
            const std::vector<std::uint8_t> bgr = picture.bgr();
            const Rectangle whole = whole_image(shape.height, shape.width);
            for (const Size& canvas : canvases) {
                for (Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kAntialiased}) {
                    for (DataType dtype :
                         {DataType::kUint8, DataType::kFloat16, DataType::kBfloat16, DataType::kFloat32}) {
                        Placement placement;
                        CHECK(plan_letterbox(whole, canvas, SizeRounding::kTruncate, &placement).ok());
                        expect_the_pictures_bytes(picture, bgr, placement, canvas, dtype, interpolation);
                        CHECK(plan_stretch(whole, canvas, &placement).ok());
                        expect_the_pictures_bytes(picture, bgr, placement, canvas, dtype, interpolation);
                        CHECK(plan_center_crop(whole, canvas, &placement).ok());
                        expect_the_pictures_bytes(picture, bgr, placement, canvas, dtype, interpolation);
                    }
                }
            }
        }
    }
}

/// Pixels next to each other, apart, and far apart; none, one or both of a column's two with a weight.
void test_every_scale() {
    std::mt19937 random(2);
    for (std::int64_t width : {30, 62, 90, 120, 150, 180, 270, 300, 330, 600, 630, 1000}) {
        const Nv12Picture picture(12, width, 0, 0, random);
        const std::vector<std::uint8_t> bgr = picture.bgr();
        for (const Size& canvas : {Size{4, 30}, Size{12, 30}, Size{5, 29}}) {
            for (Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kAntialiased}) {
                Placement placement;
                CHECK(plan_stretch(whole_image(12, width), canvas, &placement).ok());
                expect_the_pictures_bytes(picture, bgr, placement, canvas, DataType::kUint8, interpolation);
            }
        }
    }
}

void test_crops_begin_anywhere() {
    std::mt19937 random(3);
    const Nv12Picture picture(30, 42, 1, 3, random);
    const std::vector<std::uint8_t> bgr = picture.bgr();
    for (const Rectangle& crop :
         {Rectangle{0, 0, 1, 1}, Rectangle{41, 29, 1, 1}, Rectangle{1, 1, 3, 3}, Rectangle{21, 10, 21, 20},
          Rectangle{20, 11, 21, 19}, Rectangle{39, 0, 3, 30}, Rectangle{0, 29, 42, 1}}) {
        for (const Size& canvas : {Size{24, 36}, Size{3, 5}}) {
            for (Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kAntialiased}) {
                Placement placement;
                CHECK(plan_letterbox(crop, canvas, SizeRounding::kHalfToEven, &placement).ok());
                expect_the_pictures_bytes(picture, bgr, placement, canvas, DataType::kFloat32, interpolation);
                // Part of it to the left and above the canvas.
                placement.left = -placement.resized_width / 2;
                placement.top = -placement.resized_height / 2;
                expect_the_pictures_bytes(picture, bgr, placement, canvas, DataType::kUint8, interpolation);
                placement.left = -placement.resized_width;  // and all of it
                expect_the_pictures_bytes(picture, bgr, placement, canvas, DataType::kUint8, interpolation);
            }
        }
    }
}

/// Reading from these bytes fails from now on (with the address sanitizer; nothing without it).
void forbid(const Plane& plane, std::int64_t row) {
#if defined(__SANITIZE_ADDRESS__)
    // Whole granules of eight bytes: what is narrower is not told apart.
    __asan_poison_memory_region(plane.bytes.get() + row * plane.pitch, static_cast<std::size_t>(plane.row_bytes));
#else
    static_cast<void>(plane), static_cast<void>(row);
#endif
}

void allow(const Plane& plane) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(plane.bytes.get(), plane.size());
#else
    static_cast<void>(plane);
#endif
}

void test_rows_of_weight_0_are_not_read_of_either_plane() {
    std::mt19937 random(4);
    for (std::int64_t scale : {3, 5}) {
        const Size canvas{10, 40};
        const Nv12Picture picture(canvas.height * scale, canvas.width * scale, 0, 0, random);
        const std::vector<std::uint8_t> bgr = picture.bgr();
        std::vector<bool> needs_chroma(static_cast<std::size_t>(picture.chroma.rows));
        for (std::int64_t row = 0; row < picture.luma.rows; ++row) {
            if (row % scale == scale / 2) {
                needs_chroma[static_cast<std::size_t>(row / 2)] = true;
            } else {
                forbid(picture.luma, row);
            }
        }
        for (std::int64_t row = 0; row < picture.chroma.rows; ++row) {
            if (!needs_chroma[static_cast<std::size_t>(row)]) forbid(picture.chroma, row);
        }
        for (const std::int64_t width : {40, 33, 7}) {
            Placement placement;
            const Size target{canvas.height, width};
            CHECK(plan_stretch(whole_image(picture.luma.rows, picture.luma.row_bytes), target, &placement).ok());
            expect_the_pictures_bytes(picture, bgr, placement, target, DataType::kUint8, Interpolation::kBilinear);
        }
        allow(picture.luma);
        allow(picture.chroma);
    }
}

void test_a_batch_of_both_kinds() {
    std::mt19937 random(5);
    const Nv12Picture first(10, 700, 0, 4, random);
    const Nv12Picture second(64, 2, 3, 0, random);
    const std::vector<std::uint8_t> first_bgr = first.bgr();
    const std::vector<std::uint8_t> second_bgr = second.bgr();
    const ImageView packed[] = {packed_view(first_bgr, 10, 700), packed_view(second_bgr, 64, 2),
                                packed_view(first_bgr, 10, 700)};
    const ImageView mixed[] = {first.view(), packed[1], first.view()};
    const ImageView mixed_too[] = {packed[0], second.view(), packed[2]};
    const Size canvas{32, 48};
    for (Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kAntialiased}) {
        Placement placements[3];
        for (int n = 0; n < 3; ++n) {
            CHECK(plan_letterbox(whole_image(packed[n].height, packed[n].width), canvas, SizeRounding::kTruncate,
                                 &placements[n])
                      .ok());
        }
        const PreprocessParams params = params_for(DataType::kFloat16, interpolation, true);
        std::vector<unsigned char> expected;
        CHECK(preprocess(packed, placements, 3, params, tensor(expected, DataType::kFloat16, 3, canvas), nullptr).ok());
        for (const ImageView* images : {mixed, mixed_too}) {
            std::vector<unsigned char> actual;
            CHECK(
                preprocess(images, placements, 3, params, tensor(actual, DataType::kFloat16, 3, canvas), nullptr).ok());
            CHECK(actual == expected);
        }
    }
}

void test_wrong_arguments_write_nothing() {
    std::mt19937 random(6);
    const Nv12Picture picture(8, 10, 0, 0, random);
    const Size canvas{4, 4};
    Placement placement;
    CHECK(plan_stretch(whole_image(8, 10), canvas, &placement).ok());
    std::vector<unsigned char> memory;
    const TensorView destination = tensor(memory, DataType::kFloat32, 1, canvas);
    const std::vector<unsigned char> untouched = memory;
    const PreprocessParams params;
    std::vector<unsigned char> descriptors(preprocess_descriptor_bytes(&placement, 1, params.interpolation, canvas));
    const auto refused = [&](const ImageView& view, const std::string& word) {
        for (const bool on_device : {false, true}) {
            const Status status = on_device ? describe_preprocess(&view, &placement, 1, params, destination,
                                                                  descriptors.data(), descriptors.size())
                                            : preprocess(&view, &placement, 1, params, destination, nullptr);
            CHECK(status.code() == StatusCode::kInvalidArgument);
            const bool names_it = std::string(status.message()).find(word) != std::string::npos;
            if (!names_it) std::fprintf(stderr, "%s: %s\n", word.c_str(), status.message());
            CHECK(names_it);
            CHECK(memory == untouched);
        }
    };
    ImageView view = picture.view();
    view.data = nullptr;
    refused(view, "images[0] has no data");
    view = picture.view();
    view.chroma = nullptr;
    refused(view, "images[0] is NV12 without chroma");
    view = picture.view();
    view.height = 7;
    refused(view, "luma of shape [7, 10]; both sides must be even");
    view = picture.view();
    view.width = 9;
    refused(view, "luma of shape [8, 9]; both sides must be even");
    view = picture.view();
    view.channels = 1;
    refused(view, "1 channels");
    view = picture.view();
    view.row_pitch = 9;
    refused(view, "images[0] has a luma pitch of 9 bytes, less");
    view.row_pitch = INT64_MAX / 4;
    refused(view, "luma pitch of " + std::to_string(INT64_MAX / 4));
    view = picture.view();
    view.chroma_pitch = 9;
    refused(view, "images[0] has a chroma pitch of 9 bytes, less");
    view.chroma_pitch = INT64_MAX / 3;
    refused(view, "chroma pitch of " + std::to_string(INT64_MAX / 3));
    view = picture.view();
    view.height = 1 << 25;
    refused(view, "2^24");
    // Either plane within the destination, or around it.
    view = picture.view();
    view.data = memory.data() + 8;
    refused(view, "destination overlaps images[0]");
    view = picture.view();
    view.chroma = memory.data() + memory.size() - 1;
    refused(view, "destination overlaps images[0]");

    // The other functions take packed pixels alone.
    std::vector<unsigned char> grey(8 * 10 * 3);
    TensorView target;
    target.data = grey.data();
    target.dtype = DataType::kUint8;
    target.rank = 3;
    target.shape = {8, 10, 3};
    target.strides = {30, 3, 1};
    for (const Status& status :
         {grayscale(picture.view(), true, target), contrast(picture.view(), Contrast::kStretching, target)}) {
        CHECK(status.code() == StatusCode::kInvalidArgument);
        CHECK(std::string(status.message()).find("is NV12") != std::string::npos);
    }
}

}  // namespace

int main() {
    test_every_size();
    test_every_scale();
    test_crops_begin_anywhere();
    test_rows_of_weight_0_are_not_read_of_either_plane();
    test_a_batch_of_both_kinds();
    test_wrong_arguments_write_nothing();
    return 0;
}
