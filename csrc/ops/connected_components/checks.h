#pragma once

#include <cstddef>
#include <string>

#include "rfkernels/connected_components.h"
#include "rfkernels/status.h"

namespace rfkernels {

/// `name` is what the stack holds: "masks", "logits".
Status check_size(const MaskStackSize& size, const std::string& name);

/// Of an array with an element for each pixel.
Status check_memory(const void* memory, const MaskStackSize& size, const std::string& name);

Status check_params(const CleaningParams& params);

/// Labels and areas lie apart from the masks and from each other; masks are read after the first labels are written.
Status check_results_apart(const std::uint8_t* masks, const MaskStackSize& size, const std::int32_t* labels,
                           const std::int32_t* areas);

/// In place is fine; halfway would read what is written already.
Status check_overlap(const void* logits, const void* out, const MaskStackSize& size, std::size_t element_bytes);

}  // namespace rfkernels
