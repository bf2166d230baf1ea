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

/// In place is fine; halfway would read what is written already.
Status check_overlap(const void* logits, const void* out, const MaskStackSize& size, std::size_t element_bytes);

}  // namespace rfkernels
