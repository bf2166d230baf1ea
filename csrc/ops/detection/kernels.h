#pragma once

#include <cstdint>

#include "rfkernels/status.h"
#include "rfkernels/tensor.h"

namespace rfkernels {

/// Scores or logits of one image, float32 or bfloat16; anchor a of class c is element c * class_step + a * anchor_step.
/// One of the two steps is 1 (or unused, where there is one anchor or one class).
struct ClassValues {
    const void* data = nullptr;
    DataType dtype = DataType::kFloat32;
    std::int64_t class_step = 0;
    std::int64_t anchor_step = 0;
    std::int64_t class_count = 0;
};

/// Most anchors that one call of `select_candidates` takes, so that its results fit on the caller's stack.
constexpr int kMaxAnchorsPerCall = 1024;

struct SelectedAnchors {
    int count = 0;
    std::int32_t anchors[kMaxAnchorsPerCall];  ///< ascending
    std::int32_t classes[kMaxAnchorsPerCall];
    float values[kMaxAnchorsPerCall];
};

/// The anchors in [first_anchor, first_anchor + anchor_count) whose greatest value is > gate, with the first class that
/// has it. NaN values do not count.
using SelectCandidates = void(const ClassValues& values, std::int64_t first_anchor, int anchor_count, float gate,
                              SelectedAnchors* selected);

/// How many softmaxes `expected_bins` does in one call: four sides of four boxes.
constexpr int kBinColumns = 16;

/// For each column the mean of the bin number under softmax: bins [reg_max][kBinColumns] to means [kBinColumns].
/// A column with a NaN or an infinity gives NaN, as far as its softmax has no value.
using ExpectedBins = void(float* bins, std::int64_t reg_max, float* means);

/// Kept boxes of one class, kBlockBoxes at a time; the places not yet taken hold a box that overlaps nothing.
constexpr int kBlockBoxes = 16;
struct alignas(64) BoxBlock {
    float x1[kBlockBoxes];
    float y1[kBlockBoxes];
    float x2[kBlockBoxes];
    float y2[kBlockBoxes];
    float area[kBlockBoxes];
};

struct Suppression {
    const float* boxes = nullptr;          ///< [.., 4]
    const std::int32_t* order = nullptr;   ///< [count] indices of boxes, best first
    const std::int32_t* groups = nullptr;  ///< group of every box, or null where all are in group 0
    std::int64_t count = 0;
    BoxBlock* blocks = nullptr;                 ///< room for the kept boxes of all groups
    const std::int64_t* first_block = nullptr;  ///< [group_count] where a group's blocks begin
    std::int64_t* kept_in_group = nullptr;      ///< [group_count] zeros; counts afterwards
    float iou_threshold = 0.0f;                 ///< the greatest float not above the real threshold, >= 0
    std::int64_t max_kept = 0;                  ///< stop after so many
};

/// Writes the kept indices to kept [min(count, max_kept)], best first, and returns how many they are.
using SuppressGreedily = std::int64_t(const Suppression& suppression, std::int32_t* kept);

namespace baseline {
SelectCandidates select_candidates;
ExpectedBins expected_bins;
SuppressGreedily suppress_greedily;
}  // namespace baseline

#if defined(RFK_X86_VARIANTS)
namespace avx2 {
SelectCandidates select_candidates;
ExpectedBins expected_bins;
SuppressGreedily suppress_greedily;
}  // namespace avx2

namespace avx512 {
SelectCandidates select_candidates;
ExpectedBins expected_bins;
SuppressGreedily suppress_greedily;
}  // namespace avx512
#endif

struct DetectionKernels {
    SelectCandidates* select_candidates = nullptr;
    ExpectedBins* expected_bins = nullptr;
    SuppressGreedily* suppress_greedily = nullptr;
};

/// Those of the active instruction set.
Status detection_kernels(DetectionKernels* kernels);

}  // namespace rfkernels
