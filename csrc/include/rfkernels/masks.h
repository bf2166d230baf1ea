#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rfkernels/placement.h"
#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// Whose masks they are, in what order they are cut and enlarged.
enum class MaskConvention {
    /// inference-models 0.39: probabilities, cut to the box in prototype pixels, then resized to the image (antialiased
    /// where that is smaller), above 1/2.
    kV2,
    /// ultralytics 8.4 (`process_mask`): logits, enlarged to the network's input, above 0, then cut to the box. The
    /// grid
    /// is the network's input with its padding.
    kUltralytics,
    /// ultralytics 8.4 with retina_masks (`process_mask_native`): logits, enlarged to the image, above 0, then cut.
    kUltralyticsNative,
};

/// The pixels that masks have, and how prototypes become them. Made by `plan_mask_grid`.
///
/// A mask is computed from values at prototype pixels: `source` is the part of the prototypes (enlarged `presampling`
/// times) that shows the picture; it may reach beyond them, where values count as outside every object. It is resized
/// to resized_width x resized_height, which lies in the grid at left, top.
struct MaskGrid {
    std::int64_t width = 0;   ///< of the grid: masks, polygons and run lengths are in its pixels
    std::int64_t height = 0;  ///< likewise
    Rectangle source;
    int presampling = 1;  ///< 1, 2 or 4; bilinear, without antialiasing
    std::int64_t resized_width = 0;
    std::int64_t resized_height = 0;
    std::int64_t left = 0;
    std::int64_t top = 0;
    std::int64_t prototype_width = 0;  ///< what it was planned for
    std::int64_t prototype_height = 0;
    bool antialias = false;
    /// true: sigmoid before the resize, compared with 1/2, cut to the box before it, in prototype pixels.
    bool cut_probabilities = false;
    /// A box of the network's input is (x - box_left) / box_scale_x + box_offset_x here: in prototype pixels, rounded
    /// half to even, where cut_probabilities; else in grid pixels, clamped to the grid. y alike.
    double box_left = 0.0;
    double box_top = 0.0;
    double box_scale_x = 1.0;
    double box_scale_y = 1.0;
    double box_offset_x = 0.0;
    double box_offset_y = 0.0;
};

/// What a grid is planned for.
struct MaskGridRequest {
    MaskConvention convention = MaskConvention::kV2;
    Placement placement;  ///< where the image lies in the network's input
    std::int64_t image_width = 0;
    std::int64_t image_height = 0;
    std::int64_t network_width = 0;
    std::int64_t network_height = 0;
    std::int64_t prototype_width = 0;
    std::int64_t prototype_height = 0;
    /// kV2 only, in [0, 1]: 1 gives the size of the image, 0 that of the prototypes without padding, what is between an
    /// interpolation of the two sizes, rounded half to even.
    double resolution_factor = 1.0;
};

/// Grids have less than 2^31 pixels.
Status plan_mask_grid(const MaskGridRequest& request, MaskGrid* grid);

/// What n masks of one image are made of. All memory is the caller's.
struct MaskSources {
    /// float32 or bfloat16 [1, channels, H, W], channel by channel or pixel by pixel as `HeadLevel` has them.
    TensorView prototypes;
    const float* coefficients = nullptr;  ///< [count, channels]
    const float* boxes = nullptr;         ///< [count, 4] x1 y1 x2 y2 in pixels of the network's input
    std::int64_t count = 0;
};

/// n masks, every one of them as closed outlines. Points are pixels of the grid that belong to the mask.
struct Polygons {
    std::vector<std::int32_t> points;          ///< [.., 2] x, y
    std::vector<std::int64_t> first_points;    ///< [contour_count + 1] where a contour's points begin, and the end
    std::vector<std::int64_t> first_contours;  ///< [count + 1] where a mask's contours begin, and the end
    std::vector<std::int64_t> areas;           ///< [count] pixels of each mask
};

enum class ContourChoice {
    kMostPoints,  ///< the contour with the most points, the first on a tie; none where the mask is empty
    kAll,         ///< all outermost contours, in the order of cv2.findContours
};

/// n masks as COCO's compressed run lengths: counts down the columns, as pycocotools writes them.
struct RunLengths {
    std::vector<std::string> counts;  ///< [count]
    std::vector<std::int64_t> areas;  ///< [count]
};

/// Masks of detections, straight to what is asked for. For every detection
///
///   value[y][x] = sum over channels of coefficients[c] * prototypes[c][y][x], fp32, in eight partial sums: channel c
///                 goes to sum c % 8, and ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
///   mask        = value, cut, resized and compared as the grid says
///
/// computed in the window of the detection's box alone: no mask of the size of the grid is built on the way to a
/// polygon or to run lengths. A box that is empty, outside of the grid, or not finite gives an empty mask; so does a
/// NaN.
///
/// The outlines are those of cv2.findContours(RETR_EXTERNAL, CHAIN_APPROX_SIMPLE): the same contours, each with the
/// same points from the same start; a component within a hole of another has none. Source of the tracing: Suzuki and
/// Abe, "Topological structural analysis of digitized binary images", 1985.
///
/// Moves: the prototypes of each box's window once for each detection. 20 boxes of a tenth of a 1080p picture's area:
/// 20 x 2,560 x 128 B = 6.6 MB.
Status masks_to_polygons(const MaskSources& sources, const MaskGrid& grid, ContourChoice choice, Polygons* result);

Status masks_to_run_lengths(const MaskSources& sources, const MaskGrid& grid, RunLengths* result);

/// out  uint8 [count, height, ceil(width / 8)], contiguous: pixel x of a row is bit x % 8 of its byte x / 8
Status masks_to_bits(const MaskSources& sources, const MaskGrid& grid, std::uint8_t* out);

/// out  uint8 [count, height, width], contiguous: 1 inside, 0 outside
Status masks_to_dense(const MaskSources& sources, const MaskGrid& grid, std::uint8_t* out);

/// A mask of the caller's: uint8 [height, width], rows `row_pitch` bytes apart, inside where not 0.
struct DenseMask {
    const std::uint8_t* data = nullptr;
    std::int64_t height = 0;
    std::int64_t width = 0;
    std::int64_t row_pitch = 0;
};

/// The outlines of one mask, as above.
Status find_contours(const DenseMask& mask, ContourChoice choice, Polygons* result);

/// The run lengths of one mask, as above.
Status encode_run_lengths(const DenseMask& mask, RunLengths* result);

/// What `encode_run_lengths` has written, or pycocotools.
///
/// out  uint8 [height, width], contiguous
Status decode_run_lengths(const std::string& counts, std::int64_t height, std::int64_t width, std::uint8_t* out);

}  // namespace rfkernels
