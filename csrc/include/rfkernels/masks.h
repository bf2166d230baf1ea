#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rfkernels/device.h"
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

/// out  uint8 [count, height, ceil(width / 8)], contiguous: pixel x of a row is bit x % 8 of its byte x / 8; overlaps
///      none of the sources
Status masks_to_bits(const MaskSources& sources, const MaskGrid& grid, std::uint8_t* out);

/// out  uint8 [count, height, width], contiguous: 1 inside, 0 outside; overlaps none of the sources
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

// Masks on a device: the same bits, of a whole batch at once, in two or three launches and without waiting for the
// host.
//
//   describe_masks      on the host: what may differ from call to call (grids, and with them sizes of images,
//                       placements and conventions) into a block of memory, which the caller copies to the device
//   masks_to_*          on the device; may be captured in a graph, which holds for every later block of descriptors
//   polygons_from_bits, run_lengths_from_runs
//                       on the host again: what was copied back becomes what the functions above give, bit for bit
//
// Results of variable size lie one after the other, by image and detection, in an arena of the caller's. Where it is
// too small nothing is written to it, and the summary says how much it would have taken: nothing is ever cut short.

/// What a captured call is made for.
struct MaskDeviceLayout {
    std::int64_t image_count = 0;
    std::int64_t max_detections = 0;  ///< places for each image, of which the first counts[image] are taken
    std::int64_t prototype_height = 0;
    std::int64_t prototype_width = 0;
    std::int64_t most_grid_height = 0;  ///< of the grids that will be described
    std::int64_t most_grid_width = 0;
};

/// Bytes of a block of descriptors for grids planned by `plan_mask_grid`; 0 where the layout is impossible.
/// A 1080p image at the size of its picture: 77 KB.
std::size_t mask_descriptor_bytes(const MaskDeviceLayout& layout);

/// grids             [layout.image_count]
/// host_descriptors  mask_descriptor_bytes(layout), 16-byte aligned; to be copied to the device, 16-byte aligned there
Status describe_masks(const MaskDeviceLayout& layout, const MaskGrid* grids, void* host_descriptors);

/// All memory is the device's, or pinned memory of the host, C-contiguous where nothing else is said.
struct DeviceMaskSources {
    /// float32, float16 or bfloat16 [N, channels, H, W], channel by channel or pixel by pixel as `HeadLevel` has them.
    TensorView prototypes;
    /// [coefficient_level_count], at most 8: outputs of the network [N, channels, h, w], as `prototypes` in type and
    /// layout. Coefficients of a detection are those of its anchor, levels in the order of the anchors.
    const TensorView* coefficient_levels = nullptr;
    std::int64_t coefficient_level_count = 0;
    /// Where there are no levels: [N, max_detections, channels], of the same types, the coefficients of each place.
    TensorView coefficient_rows;
    const std::int32_t* anchor_indices = nullptr;  ///< [N, max_detections]; not looked at where there are rows
    const float* boxes = nullptr;                  ///< [N, max_detections, 4] x1 y1 x2 y2 of the network's input
    const std::int32_t* counts = nullptr;          ///< [N] detections of each image
};

/// The window of one detection's mask; everything outside of it is outside of the mask.
struct MaskRecord {
    std::int32_t left = 0;  ///< of the window in the grid
    std::int32_t top = 0;
    std::int32_t width = 0;
    std::int32_t height = 0;
    std::int64_t first = 0;  ///< where in the arena its elements begin
    std::int64_t count = 0;  ///< elements in the arena
};

struct MaskSummary {
    std::int64_t needed = 0;      ///< elements of the arena that all masks take
    std::int64_t overflowed = 0;  ///< 1 where that is more than the arena has, and nothing was written to it; else 0
};

/// Where results go: the device's memory, or pinned memory of the host (then no copy is needed: kernels write each
/// element once and read none). They overlap neither each other nor the sources and their descriptors, nor does the
/// scratch memory.
struct DeviceMaskResults {
    MaskSummary* summary = nullptr;   ///< one
    MaskRecord* records = nullptr;    ///< [N, max_detections]; those of places that are not taken are zeros
    void* arena = nullptr;            ///< 16-byte aligned
    std::int64_t arena_capacity = 0;  ///< in elements
};

/// Memory that a call needs besides, 16-byte aligned; it may be the same for calls of one stream. It need not be
/// initialised: nothing is kept in it from call to call.
///
/// arena_runs  the arena's capacity for `masks_to_runs_on_device`, 0 for the other two
std::size_t mask_scratch_bytes(const MaskDeviceLayout& layout, std::int64_t arena_runs);

/// The bits of every mask's window. Arena elements are uint64: pixel (x, y) of a window is bit x % 64 of its element
/// x / 64 * height + y.
///
/// Two launches. Moves: the prototypes once, the arena once; 100 masks of 5 % of a 1080p picture: 2.5 MB.
Status masks_to_bits_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                               const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                               Stream stream);

/// The runs of every mask, down the columns of its grid: where each begins (pixel x * grid.height + y) and where it
/// ends (the pixel after it), ascending. Arena elements are int32. A run that reaches the grid's lower border and goes
/// on at the top of the next column is two, of which one ends where the other begins.
///
/// Three launches. Moves: the prototypes once, the runs three times; 100 masks of 5 % of a 1080p picture: 2.0 MB.
Status masks_to_runs_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                               const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                               Stream stream);

/// uint8 masks, 1 inside and 0 outside. The arena's elements are bytes: a mask [grid.height, grid.width] for each
/// detection, those of an image at a multiple of 16 bytes.
///
/// Three launches. Moves: the arena once and the windows a second time.
Status masks_to_dense_on_device(Device& device, const MaskDeviceLayout& layout, const DeviceMaskSources& sources,
                                const void* device_descriptors, const DeviceMaskResults& results, void* scratch,
                                Stream stream);

/// Of one image, from what was copied to the host: the same as `masks_to_polygons` gives.
///
/// records  [count] of the image's detections
/// arena    as much of the arena as summary.needed, or all of it
Status polygons_from_bits(const MaskSummary& summary, const MaskRecord* records, std::int64_t count,
                          const std::uint64_t* arena, std::int64_t arena_elements, ContourChoice choice,
                          Polygons* result);

/// Likewise: the same as `masks_to_run_lengths` gives.
Status run_lengths_from_runs(const MaskSummary& summary, const MaskRecord* records, std::int64_t count,
                             const std::int32_t* arena, std::int64_t arena_elements, const MaskGrid& grid,
                             RunLengths* result);

}  // namespace rfkernels
