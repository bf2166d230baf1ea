#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "rfkernels/device.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// The label and the area of a pixel of the background.
constexpr std::int32_t kNoComponent = 0;
/// How far from the threshold a cleaned logit lies: enough to count as sure. Source: SAM2's image predictor.
constexpr float kCleaningStep = 10.0F;
/// Pixels of a mask: labels are their numbers, from 1, in int32.
constexpr std::int64_t kMostMaskPixels = std::numeric_limits<std::int32_t>::max() - 1;
/// Further from 0 a threshold may not lie: a float32 there must be able to differ from it by kCleaningStep.
constexpr float kFurthestThreshold = 16777216.0F;
/// The same for logits in float16.
constexpr float kFurthestHalfThreshold = 4096.0F;

/// Masks of one size, one behind the other without gaps: pixel x, y of mask n is element (n * height + y) * width + x.
struct MaskStackSize {
    std::int64_t count = 0;
    std::int64_t height = 0;
    std::int64_t width = 0;
};

/// Which pixels of a mask hang together.
///
/// Two pixels of the foreground are of one component where a path of foreground pixels joins them, each a neighbour of
/// the next, its row and its column one off at most (8-connectivity).
///
///   label[y][x] = 1 + min(y' * width + x') over the pixels (x', y') of its component, 0 in the background
///   area[y][x]  = number of pixels of its component, 0 in the background
///
/// A component's label thus names its first pixel in raster order. Labels depend on nothing but the mask; they are not
/// numbered without gaps.
///
/// masks   uint8 [count, height, width], foreground where not 0
/// labels  int32 [count, height, width]; overlaps neither masks nor areas
/// areas   int32 [count, height, width], likewise
/// size    sides from 1, at most kMostMaskPixels pixels a mask; no mask is fine
///
/// Moves: a byte of each pixel once, eight bytes of results once. 1080p: 2.1 MB + 16.6 MB. Beside them it has memory
/// for one mask: a bit a pixel, and 20 bytes for each run of foreground pixels in a row.
Status connected_components(const std::uint8_t* masks, const MaskStackSize& size, std::int32_t* labels,
                            std::int32_t* areas);

/// What is too small to be meant; 0 leaves all as it is.
struct CleaningParams {
    std::int64_t max_hole_area = 0;      ///< in pixels
    std::int64_t max_sprinkle_area = 0;  ///< in pixels
    float threshold = 0.0F;              ///< above it is foreground; at most kFurthestThreshold from 0
};

/// Fills small holes of masks that are still logits, and takes small sprinkles away. Source: SAM2's image predictor.
///
///   out = threshold + kCleaningStep   in components of logit <= threshold of at most max_hole_area pixels
///       = threshold - kCleaningStep   in components of logit > threshold of at most max_sprinkle_area pixels
///       = logit                       elsewhere
///
/// in float32. Components are those of connected_components, of either side (8-connected both), and both of the logits
/// as they were given: a filled hole makes no sprinkle larger. A NaN is on neither side and stays. A hole need not be
/// surrounded: at the border, too, the background's small components are filled.
///
/// logits  float32 [count, height, width]
/// out     float32 [count, height, width]; may be `logits` itself, and otherwise does not overlap it
///
/// Moves: the logits once for each of the two that is on, and once more to `out`. 3 x 256 x 256: 0.8 MB to 0.8 MB.
/// Beside them it has memory for one mask, as above.
Status clean_mask_logits(const float* logits, const MaskStackSize& size, const CleaningParams& params, float* out);

// On a device. Masks of up to 256 x 256 pixels, as SAM2's are, take one launch for all of them, in which a block has a
// mask in its shared memory; larger ones take four. Nothing waits for the host, so a graph may hold the launches.

/// The bytes of device memory that `connected_components_on_device` works in: none for masks of up to 256 x 256 pixels,
/// otherwise a bit for each pixel of the whole tiles of 256 x 256 that cover a mask. They need not be zeros. Calls that
/// may run at the same time need scratch of their own.
std::size_t connected_components_scratch_bytes(const MaskStackSize& size);

/// `connected_components` of masks on the device: the same labels and areas.
///
/// masks    uint8 [count, height, width] on the device, any alignment
/// labels   int32 [count, height, width] on the device; hold other things until the last launch is done
/// areas    int32 [count, height, width], likewise
/// scratch  16-byte aligned; null where it takes no bytes. Of these four none overlaps another
///
/// Moves: a byte of each pixel once, eight bytes of results once. 3 x 256 x 256: 0.2 MB + 1.6 MB, floor 0.53 us on an
/// H100. Larger masks, beside these, the scratch up to four times and 8 bytes for each run of pixels.
Status connected_components_on_device(Device& device, const std::uint8_t* masks, const MaskStackSize& size,
                                      std::int32_t* labels, std::int32_t* areas, void* scratch,
                                      std::size_t scratch_bytes, Stream stream);

/// The bytes of device memory that `clean_mask_logits_on_device` works in, as above: two such bits, and 8 bytes a
/// pixel.
std::size_t clean_mask_logits_scratch_bytes(const MaskStackSize& size);

/// `clean_mask_logits` of logits on the device: the same bits.
///
/// logits   float32 or float16 [count, height, width] on the device. float16 is compared as float32; what is put in
///          place of logits is rounded to it, and the threshold at most kFurthestHalfThreshold from 0
/// params   become part of a graph that is captured
/// out      of the same type on the device; may be `logits` itself, and otherwise does not overlap it
/// scratch  16-byte aligned; null where it takes no bytes. Overlaps neither
///
/// Moves: the logits once and as much to `out`; in place only those that change. 3 x 256 x 256 float32: 0.8 MB + 0.8
/// MB, floor 0.47 us on an H100.
Status clean_mask_logits_on_device(Device& device, const void* logits, DataType dtype, const MaskStackSize& size,
                                   const CleaningParams& params, void* out, void* scratch, std::size_t scratch_bytes,
                                   Stream stream);

}  // namespace rfkernels
