// Under the sanitizers: every byte of an image lies in a heap block of exactly its size, so that a read or a write past
// it is caught; and all instruction sets give the same bytes. That the bytes are right is tested in tests/ops.

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "rfkernels/instruction_set.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#include "rfkernels/preprocess.h"

using namespace rfkernels;

namespace {

struct Image {
    std::unique_ptr<std::uint8_t[]> bytes;
    ImageView view;
};

/// An image of noise. The last row has no padding behind it.
Image make_image(std::int64_t height, std::int64_t width, int channels, std::int64_t padding, std::mt19937& random) {
    const std::int64_t pitch = width * channels + padding;
    const std::size_t size = static_cast<std::size_t>((height - 1) * pitch + width * channels);
    Image image{std::unique_ptr<std::uint8_t[]>(new std::uint8_t[size]), {}};
    for (std::size_t i = 0; i < size; ++i) image.bytes[i] = static_cast<std::uint8_t>(random());
    image.view = ImageView{image.bytes.get(), height, width, channels, pitch};
    return image;
}

std::int64_t size_of(DataType dtype) {
    return dtype == DataType::kUint8 ? 1 : dtype == DataType::kFloat32 ? 4 : 2;
}

TensorView tensor(std::vector<unsigned char>& memory, DataType dtype, std::int64_t count, Size canvas) {
    const std::int64_t element = size_of(dtype);
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

PreprocessParams params_for(DataType dtype, bool with_deviation) {
    PreprocessParams params;
    params.swap_channels = true;
    if (dtype == DataType::kUint8) {
        params.normalization = Normalization::kNone;
    } else if (with_deviation) {
        for (int channel = 0; channel < 3; ++channel) {
            params.mean[channel] = 0.4F;
            params.deviation[channel] = 0.2F + 0.01F * static_cast<float>(channel);
        }
    }
    return params;
}

/// One image by every instruction set; the same bytes each time.
void run_everywhere(const Image& image, const Placement& placement, Size canvas, DataType dtype,
                    Interpolation interpolation = Interpolation::kBilinear) {
    std::vector<unsigned char> first;
    for (InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        std::vector<unsigned char> memory;
        const TensorView destination = tensor(memory, dtype, 1, canvas);
        PreprocessParams params = params_for(dtype, canvas.width % 2 == 0);
        params.interpolation = interpolation;
        const Status status = preprocess(&image.view, &placement, 1, params, destination, nullptr);
        CHECK(status.ok());
        if (first.empty()) first = memory;
        CHECK(memory == first);
    }
    CHECK(force_instruction_set("auto").ok());
}

void test_every_size() {
    std::mt19937 random(1);
    const Size shapes[] = {{1, 1},  {1, 2},   {2, 1},   {1, 3},   {3, 3},    {1, 17},   {5, 18},
                           {7, 31}, {16, 16}, {33, 65}, {48, 96}, {145, 99}, {1, 4000}, {4000, 1}};
    const Size canvases[] = {{1, 1}, {5, 7}, {48, 32}, {31, 97}};
    for (const Size& shape : shapes) {
        for (int channels : {1, 3, 4}) {
            for (std::int64_t padding : {0, 5}) {
                const Image image = make_image(shape.height, shape.width, channels, padding, random);
                const Rectangle whole = whole_image(shape.height, shape.width);
                for (const Size& canvas : canvases) {
                    for (DataType dtype :
                         {DataType::kUint8, DataType::kFloat16, DataType::kBfloat16, DataType::kFloat32}) {
                        Placement placement;
                        CHECK(plan_letterbox(whole, canvas, SizeRounding::kTruncate, &placement).ok());
                        run_everywhere(image, placement, canvas, dtype);
                        CHECK(plan_stretch(whole, canvas, &placement).ok());
                        run_everywhere(image, placement, canvas, dtype);
                        CHECK(plan_center_crop(whole, canvas, &placement).ok());
                        run_everywhere(image, placement, canvas, dtype);
                    }
                }
            }
        }
    }
}

void test_every_size_antialiased() {
    std::mt19937 random(7);
    const Size shapes[] = {{1, 1},   {1, 2},   {2, 1},    {1, 3},    {3, 3},   {1, 17},  {5, 18},
                           {16, 16}, {33, 65}, {145, 99}, {1, 4000}, {900, 5}, {2000, 1}};
    const Size canvases[] = {{1, 1}, {3, 7}, {48, 48}, {31, 97}};
    for (const Size& shape : shapes) {
        for (int channels : {1, 3, 4}) {
            const Image image = make_image(shape.height, shape.width, channels, shape.height % 2 * 5, random);
            const Rectangle whole = whole_image(shape.height, shape.width);
            for (const Size& canvas : canvases) {
                for (DataType dtype : {DataType::kUint8, DataType::kFloat32}) {
                    Placement placement;
                    CHECK(plan_shortest_side_crop(whole, canvas, &placement).ok());
                    run_everywhere(image, placement, canvas, dtype, Interpolation::kAntialiased);
                    CHECK(plan_stretch(whole, canvas, &placement).ok());
                    run_everywhere(image, placement, canvas, dtype, Interpolation::kAntialiased);
                    CHECK(plan_letterbox(whole, canvas, SizeRounding::kTruncate, &placement).ok());
                    run_everywhere(image, placement, canvas, dtype, Interpolation::kAntialiased);
                }
            }
        }
    }
}

/// White stays white where sums are largest: as bytes, and in the 31 bits of a sum.
void test_white_images_of_hardly_any_weight() {
    for (const Size& shape : {Size{1, 5500000}, Size{5500000, 1}, Size{1, 8388607}, Size{8388607, 1}}) {
        std::mt19937 random(8);
        Image image = make_image(shape.height, shape.width, 1, 0, random);
        std::memset(image.bytes.get(), 255, static_cast<std::size_t>(shape.height * shape.width));
        Placement placement;
        CHECK(plan_stretch(whole_image(shape.height, shape.width), Size{1, 1}, &placement).ok());
        run_everywhere(image, placement, Size{1, 1}, DataType::kUint8, Interpolation::kAntialiased);
        std::vector<unsigned char> memory;
        PreprocessParams params = params_for(DataType::kUint8, false);
        params.interpolation = Interpolation::kAntialiased;
        const TensorView destination = tensor(memory, DataType::kUint8, 1, Size{1, 1});
        CHECK(preprocess(&image.view, &placement, 1, params, destination, nullptr).ok());
        CHECK(memory[0] == 255);
    }
}

/// Reading from these bytes fails until they are allowed again (with the address sanitizer; nothing without it).
void forbid(const std::uint8_t* bytes, std::int64_t count) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(bytes, static_cast<std::size_t>(count));
#else
    static_cast<void>(bytes), static_cast<void>(count);
#endif
}

void allow(const Image& image) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(image.bytes.get(),
                                  static_cast<std::size_t>(image.view.height * image.view.row_pitch));
#else
    static_cast<void>(image);
#endif
}

void test_rows_of_weight_0_are_not_read() {
    std::mt19937 random(2);
    for (std::int64_t scale : {1, 3, 5}) {
        const Size canvas{9, 40};
        const Image image = make_image(canvas.height * scale, canvas.width * scale, 3, 0, random);
        for (std::int64_t row = 0; row < image.view.height; ++row) {
            if (row % scale != scale / 2) forbid(image.view.data + row * image.view.row_pitch, image.view.row_pitch);
        }
        Placement placement;
        CHECK(plan_stretch(whole_image(image.view.height, image.view.width), canvas, &placement).ok());
        run_everywhere(image, placement, canvas, DataType::kUint8);
        // Columns that are mixtures of two take the other path.
        CHECK(plan_stretch(whole_image(image.view.height, image.view.width), Size{9, 33}, &placement).ok());
        run_everywhere(image, placement, Size{9, 33}, DataType::kUint8);
        allow(image);
    }
}

/// A window is two resized rows high, and no pixel exactly at its border counts.
void test_rows_beyond_what_is_visible_are_not_read_antialiased() {
    std::mt19937 random(9);
    const Image image = make_image(120, 40, 3, 0, random);
    Placement placement;
    CHECK(plan_shortest_side_crop(whole_image(120, 40), Size{10, 10}, &placement).ok());
    CHECK(placement.resized_height == 30 && placement.top == -10);
    // Resized rows 10 to 19, of 4 source rows each: centres at 42 to 78, and 4 rows to either side of them.
    forbid(image.view.data, 38 * image.view.row_pitch);
    forbid(image.view.data + 82 * image.view.row_pitch, 38 * image.view.row_pitch);
    run_everywhere(image, placement, Size{10, 10}, DataType::kUint8, Interpolation::kAntialiased);
    allow(image);
}

void test_crops_at_every_corner() {
    std::mt19937 random(3);
    for (int channels : {1, 3, 4}) {
        const Image image = make_image(30, 41, channels, 0, random);
        for (const Rectangle& crop :
             {Rectangle{0, 0, 1, 1}, Rectangle{40, 29, 1, 1}, Rectangle{20, 10, 21, 20}, Rectangle{39, 0, 2, 30}}) {
            Placement placement;
            const Size canvas{24, 36};
            CHECK(plan_letterbox(crop, canvas, SizeRounding::kHalfToEven, &placement).ok());
            run_everywhere(image, placement, canvas, DataType::kFloat32);
            run_everywhere(image, placement, canvas, DataType::kFloat32, Interpolation::kAntialiased);
        }
    }
}

void test_a_batch_and_wide_strips() {
    std::mt19937 random(4);
    std::vector<Image> images;
    images.push_back(make_image(3, 16384, 3, 0, random));
    images.push_back(make_image(16384, 3, 4, 1, random));
    images.push_back(make_image(1, 1, 1, 0, random));
    std::vector<ImageView> views;
    std::vector<Placement> placements(images.size());
    const Size canvas{64, 64};
    for (std::size_t n = 0; n < images.size(); ++n) {
        views.push_back(images[n].view);
        CHECK(plan_letterbox(whole_image(views[n].height, views[n].width), canvas, SizeRounding::kTruncate,
                             &placements[n])
                  .ok());
    }
    for (InstructionSet instruction_set : supported_instruction_sets()) {
        CHECK(force_instruction_set(name_of(instruction_set)).ok());
        std::vector<unsigned char> memory;
        const TensorView destination = tensor(memory, DataType::kFloat16, 3, canvas);
        CHECK(preprocess(views.data(), placements.data(), 3, params_for(DataType::kFloat16, true), destination, nullptr)
                  .ok());
    }
    CHECK(force_instruction_set("auto").ok());
}

void test_grayscale_and_contrast() {
    std::mt19937 random(5);
    for (const Size& shape : {Size{1, 1}, Size{1, 9}, Size{8, 1}, Size{17, 23}, Size{64, 80}}) {
        for (int channels : {1, 3, 4}) {
            const Image image = make_image(shape.height, shape.width, channels, 3, random);
            std::vector<std::uint8_t> memory(static_cast<std::size_t>(shape.height * shape.width * 3));
            TensorView destination;
            destination.data = memory.data();
            destination.dtype = DataType::kUint8;
            destination.rank = 3;
            destination.shape = {shape.height, shape.width, 3};
            destination.strides = {shape.width * 3, 3, 1};
            CHECK(grayscale(image.view, true, destination).ok());
            for (Contrast kind :
                 {Contrast::kStretching, Contrast::kHistogramEqualization, Contrast::kAdaptiveEqualization}) {
                CHECK(contrast(image.view, kind, destination).ok());
            }
            destination.shape[0] += 1;
            CHECK(contrast(image.view, Contrast::kStretching, destination).code() == StatusCode::kInvalidArgument);
        }
    }
}

void test_wrong_arguments_write_nothing() {
    std::mt19937 random(6);
    Image image = make_image(8, 9, 3, 0, random);
    const Size canvas{4, 4};
    Placement placement;
    CHECK(plan_stretch(whole_image(8, 9), canvas, &placement).ok());
    std::vector<unsigned char> memory;
    const TensorView destination = tensor(memory, DataType::kFloat32, 1, canvas);
    const std::vector<unsigned char> untouched = memory;
    const PreprocessParams params;
    const auto refused = [&](const ImageView& view, const Placement& wrong, const TensorView& target,
                             const PreprocessParams& wanted, const std::string& word) {
        const Status status = preprocess(&view, &wrong, 1, wanted, target, nullptr);
        CHECK(status.code() == StatusCode::kInvalidArgument);
        CHECK(std::string(status.message()).find(word) != std::string::npos);
        CHECK(memory == untouched);
    };
    ImageView view = image.view;
    view.data = nullptr;
    refused(view, placement, destination, params, "null");
    view = image.view;
    view.channels = 2;
    refused(view, placement, destination, params, "channels");
    view = image.view;
    view.row_pitch = 26;
    refused(view, placement, destination, params, "pitch");
    view.row_pitch = INT64_MAX / 4;
    refused(view, placement, destination, params, "pitch");
    Placement wrong = placement;
    wrong.crop.x = 1;
    refused(image.view, wrong, destination, params, "crop");
    wrong = placement;
    wrong.crop.width = std::int64_t{1} << 62;
    refused(image.view, wrong, destination, params, "crop");
    wrong = placement;
    wrong.resized_width = 0;
    refused(image.view, wrong, destination, params, "resizes");
    wrong = placement;
    wrong.left = INT64_MIN;
    refused(image.view, wrong, destination, params, "left");
    TensorView strided = destination;
    strided.strides[3] = 8;
    refused(image.view, placement, strided, params, "strides");
    strided = destination;
    strided.strides[1] = INT64_MAX - 3;
    refused(image.view, placement, strided, params, "strides");
    strided = destination;
    strided.data = static_cast<unsigned char*>(strided.data) + 1;
    refused(image.view, placement, strided, params, "aligned");
    strided = destination;
    strided.data = nullptr;
    refused(image.view, placement, strided, params, "null");
    PreprocessParams zero;
    zero.deviation[1] = 0.0F;
    refused(image.view, placement, destination, zero, "std");
    CHECK(plan_shortest_side_crop(Rectangle{0, 0, 1, 100000}, Size{224, 224}, &placement).code() ==
          StatusCode::kInvalidArgument);
    CHECK(plan_shortest_side_crop(Rectangle{0, 0, 0, 3}, Size{4, 4}, &placement).code() ==
          StatusCode::kInvalidArgument);
    CHECK(plan_shortest_side_crop(Rectangle{0, 0, 3, 3}, Size{0, 0}, &placement).code() ==
          StatusCode::kInvalidArgument);
    int stream = 0;
    CHECK(!preprocess(&image.view, &placement, 1, params, destination, &stream).ok());
    CHECK(!preprocess(&image.view, &placement, -1, params, destination, nullptr).ok());
    CHECK(!preprocess(nullptr, nullptr, 1, params, destination, nullptr).ok());
}

}  // namespace

int main() {
    test_every_size();
    test_every_size_antialiased();
    test_white_images_of_hardly_any_weight();
    test_rows_of_weight_0_are_not_read();
    test_rows_beyond_what_is_visible_are_not_read_antialiased();
    test_crops_at_every_corner();
    test_a_batch_and_wide_strips();
    test_grayscale_and_contrast();
    test_wrong_arguments_write_nothing();
    return 0;
}
