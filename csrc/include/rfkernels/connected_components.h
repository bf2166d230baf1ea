#pragma once

#include <cstdint>
#include <limits>

#include "rfkernels/status.h"

namespace rfkernels {

/// The label and the area of a pixel of the background.
constexpr std::int32_t kNoComponent = 0;
/// How far from the threshold a cleaned logit lies: enough to count as sure. Source: SAM2's image predictor.
constexpr float kCleaningStep = 10.0F;
/// Pixels of a mask: labels are their numbers, from 1, in int32.
constexpr std::int64_t kMostMaskPixels = std::numeric_limits<std::int32_t>::max() - 1;
/// Further from 0 a threshold may not lie: a float32 there must be able to differ from it by kCleaningStep.
constexpr float kFurthestThreshold = 16777216.0F;

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
/// labels  int32 [count, height, width]
/// areas   int32 [count, height, width]
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

}  // namespace rfkernels
