#pragma once

#include <cstddef>
#include <cstdint>

#include "rfkernels/device.h"
#include "rfkernels/image.h"
#include "rfkernels/placement.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// How the resized size of a letterbox, and with it the padding, becomes whole pixels.
enum class SizeRounding {
    kTruncate,    ///< V2: size = int(side * scale), padding = int(rest / 2); what is odd goes right and below
    kHalfToEven,  ///< ultralytics 8.4: size = rint(side * scale), padding = rint(rest / 2 - 0.1)
};

/// Height and width in pixels.
struct Size {
    std::int64_t height = 0;
    std::int64_t width = 0;
};

// Planning. Each takes the part of the source that is used (`whole_image` or `plan_static_crop`), and says where it
// lies on the canvas. A resized side is never 0: a 4000 x 1 strip fitted into 640 x 640 is 640 x 1.

/// The whole of an image, as a crop.
Rectangle whole_image(std::int64_t height, std::int64_t width);

/// The part of an image between two percentages of each side (V2's static crop):
/// x from int(x_min / 100 * width) up to int(x_max / 100 * width), y alike.
/// Fails where a percentage is outside 0..100, or where no pixel is left.
Status plan_static_crop(std::int64_t height, std::int64_t width, double x_min, double x_max, double y_min, double y_max,
                        Rectangle* crop);

/// Fitted into the canvas keeping its aspect ratio, in the middle. The scales for the way back are the ideal one for
/// kTruncate and resized / source of each axis for kHalfToEven, as the two peers have it.
/// V2's "letterbox" and "letterbox-reflect-edges" (which it pads with a constant as well).
Status plan_letterbox(const Rectangle& crop, Size canvas, SizeRounding rounding, Placement* placement);

/// Stretched to the canvas; its aspect ratio is not kept.
Status plan_stretch(const Rectangle& crop, Size canvas, Placement* placement);

/// Not resized: the middle of it where it is larger than the canvas, padded around where it is smaller (V2).
Status plan_center_crop(const Rectangle& crop, Size canvas, Placement* placement);

/// Resized, keeping its aspect ratio, so that it just fits into `limit`; the canvas is what it then covers (V2).
Status plan_fit_longer_edge(const Rectangle& crop, Size limit, Placement* placement, Size* canvas);

/// Resized so that its shorter side is the canvas's, in the middle, what the longer side has too much cut off: the
/// transform of torchvision (Resize, CenterCrop) that ultralytics 8.4 classifies with, meant for
/// Interpolation::kAntialiased.
/// The longer side is int(canvas side * longer / shorter); half of what is too much is cut off before the canvas,
/// rounded half to even. A canvas that is not square has no one side: the image is stretched to it, as ultralytics
/// does. Fails where the longer side would be above 2^24 pixels.
Status plan_shortest_side_crop(const Rectangle& crop, Size canvas, Placement* placement);

/// Which pixels of the source, by which weights, make a resized pixel.
enum class Interpolation {
    /// OpenCV's INTER_LINEAR on uint8, bit for bit: two by two pixels, however far apart resized pixels lie.
    kBilinear,
    /// Pillow's BILINEAR on uint8, bit for bit: every pixel that is nearer than `support`, the more the nearer.
    ///   step = source side / resized side, support = max(step, 1), centre = (i + 0.5) * step
    ///   weight[n] = max(0, 1 - |n + 0.5 - centre| / support), divided by their sum, in double
    ///   resized[i] = (sum of source[n] * int(0.5 + weight[n] * 2^22) + 2^21) >> 22, at most 255
    /// Columns first, then rows, each rounded to a byte: as Pillow does up to version 12. (Version 13 takes the rows
    /// first where it expects that to be quicker, in high images say, and is then 1 off here and there.)
    kAntialiased,
};

/// What becomes of a byte of the resized image on its way into the network. float32 arithmetic, each step rounded.
enum class Normalization {
    kNone,         ///< value
    kDivide,       ///< (value / divisor - mean[c]) / deviation[c]: the same numbers as torch
    kMultiplyAdd,  ///< value * scale[c] + offset[c]: cv2.dnn's convention
};

/// Channels below are those of the destination, after the swap.
struct PreprocessParams {
    Interpolation interpolation = Interpolation::kBilinear;
    bool swap_channels = false;    ///< destination channel c is source channel 2 - c (BGR <-> RGB)
    std::uint8_t pad_value = 114;  ///< every channel, before normalization
    Normalization normalization = Normalization::kDivide;
    float divisor = 255.0F;
    float mean[3] = {0.0F, 0.0F, 0.0F};
    float deviation[3] = {1.0F, 1.0F, 1.0F};  ///< called std outside C++
    float scale[3] = {1.0F, 1.0F, 1.0F};
    float offset[3] = {0.0F, 0.0F, 0.0F};
    /// Write what the images cover and nothing else: an earlier call with the same placements has left the padding
    /// there. Of a 1080p image in 640 x 640 float32 that is 2.15 of 4.92 MB.
    bool keep_padding = false;
};

/// Images to planar network input: resize, pad, channel swap, normalization, HWC to CHW, conversion, in one pass.
///
///   destination[n][c][y][x] = normalize(resized[y - top][x - left][c'])   where placement n puts the image
///                           = normalize(pad_value)                        elsewhere (keep_padding: left as it is)
///
/// images       `count` of uint8 [height, width, 1 | 3 | 4], any sizes, any row pitch. Grey becomes three equal
///              channels, a fourth channel is ignored. Or NV12 (PixelFormat), as the BGR picture that it stands for:
///              the bytes that OpenCV's conversion and then this op would give, without that picture ever being made
/// placements   `count`, from the functions above or your own; the crop must lie inside the image
/// destination  uint8, float16, bfloat16 or float32 [count, 3, height, width]; columns contiguous, other strides free.
///              uint8 only with Normalization::kNone. float16 and bfloat16 are the float32 result rounded to nearest,
///              ties to even
/// The resize is as `params.interpolation` says, of the crop alone. All instruction sets give the same bytes.
///
/// Fails, with nothing written, on: a null pointer, a side of 0 or above 2^24 or, of NV12, an odd one, rows that
/// overlap, a destination that overlaps an image, normalization numbers that are not finite, a divisor or deviation of
/// 0. Runs on the calling thread; may be called from many at once.
///
/// Moves: pixels with a non-zero weight of each image once, destination once. 1080p -> 640 float32: 2.07 MB + 4.92 MB;
/// antialiased, 1080p -> 224 x 224 of its middle: 3.50 MB + 0.60 MB. Of NV12 a row of chroma as often as it is needed,
/// and as wide: 1080p -> 640 takes 360 rows of either plane, 1.38 MB in place of 2.07, the antialiased one 1.75
/// of 3.50. Working memory: of one image's visible rows and columns. Antialiased, about 8 bytes for each row and column
/// of the crop (its weights), and at most 260 rows of 4 bytes a pixel; rows that are shrunk by more than 128 are made
/// twice. Of NV12 one row of pixels of 4 bytes, or four where it is antialiased: as wide as the crop, at most.
Status preprocess(const ImageView* images, const Placement* placements, std::int64_t count,
                  const PreprocessParams& params, const TensorView& destination, Stream stream);

/// `preprocess` on a device, in two steps, so that a captured graph goes on to serve images of other sizes: what
/// changes from call to call are descriptors, which the host writes and whoever calls copies to the device; what the
/// graph keeps is where they lie and the canvas.
///
/// The bytes that the descriptors take; those of antialiased images grow with the images' sides.
std::size_t preprocess_descriptor_bytes(const Placement* placements, std::int64_t count, Interpolation interpolation,
                                        Size canvas);

/// Writes the descriptors. `images` have pointers that the device can read: its own memory or pinned host memory, any
/// alignment.
///
/// destination  what the launch will be given; its memory is not touched here
/// descriptors  host memory of at least `preprocess_descriptor_bytes`, 16-byte aligned
///
/// Fails as `preprocess` does.
Status describe_preprocess(const ImageView* images, const Placement* placements, std::int64_t count,
                           const PreprocessParams& params, const TensorView& destination, void* descriptors,
                           std::size_t descriptor_bytes);

/// One launch for all images: the same bytes as `preprocess`.
///
/// descriptors    on the device, as described for the same count, canvas and dtype; 16-byte aligned
/// interpolation  the one they were described for
/// destination    on the device; at most 524,280 rows
///
/// Moves: see `preprocess`. 1080p -> 640 float16: 2.07 MB + 2.46 MB, floor 1.35 us on an H100; NV12: 1.38 MB + 2.46 MB,
/// floor 1.15 us.
Status preprocess_on_device(Device& device, const void* descriptors, std::int64_t count, Interpolation interpolation,
                            const TensorView& destination, Stream stream);

/// Grey as OpenCV's cvtColor makes it, in three equal channels:
///   destination[y][x][c] = (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15
///
/// image        uint8 [height, width, 1 | 3 | 4], packed; one channel is copied into three, a fourth is ignored
/// red_first    whether channel 0 is red (RGB) or blue (BGR)
/// destination  uint8 [height, width, 3], C-contiguous, no part of it the image's memory
Status grayscale(const ImageView& image, bool red_first, const TensorView& destination);

enum class Contrast {
    kStretching,             ///< the 2nd to the 98th percentile of all bytes become 0 to 255
    kHistogramEqualization,  ///< scikit-image's equalize_hist of all channels together, 256 bins
    kAdaptiveEqualization,   ///< scikit-image's equalize_adapthist, clip limit 0.03: CLAHE of the HSV value
};

/// Contrast enhancement as V2 does it: scikit-image on float32 image / 255, times 255, cut to whole numbers; the same
/// bytes (0.25, NumPy 2). Red and blue play the same part up to the rounding of the hue: V2 takes channel 0 for red.
///
/// image        uint8 [height, width, 1 | 3 | 4], packed; one channel counts as three equal ones, a fourth is ignored
/// destination  uint8 [height, width, 3], C-contiguous, no part of it the image's memory
Status contrast(const ImageView& image, Contrast kind, const TensorView& destination);

}  // namespace rfkernels
