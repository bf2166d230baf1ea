#pragma once

// Rows of an NV12 image as the resizing kernels take them, for the files that are compiled for each instruction set.

#include <cstdint>

#include "ops/preprocess/preprocess_kernels.h"

namespace rfkernels::RFK_VARIANT {

/// Row `row` of the crop into `slot` of the plan's rows: pixels of 4 bytes, as DrawPlan::column_offsets count them.
/// Asks for row `next_row`, which the caller will want soon.
const std::uint8_t* convert_row(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::int64_t slot);

/// The pixels of plan.columns, one for each column, to three planes.
void convert_row_to_planes(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::uint8_t* planes,
                           std::int64_t plane_pitch);

}  // namespace rfkernels::RFK_VARIANT
