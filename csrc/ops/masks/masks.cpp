#include "rfkernels/masks.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "contours.h"
#include "device/guarded.h"
#include "device/memory_extent.h"
#include "device/planes.h"
#include "mask_window.h"
#include "rfkernels/instruction_set.h"
#include "run_lengths.h"

namespace rfkernels {
namespace {

constexpr const char* kNoMemory = "not enough memory for the masks";
constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostChannels = 65536;

/// For ops that write into memory of the caller's.
Status check_out(const std::uint8_t* out, bool is_needed) {
    if (out != nullptr || !is_needed) return Status();
    return Status::invalid_argument("out is a null pointer; give memory for the masks");
}

MemoryExtent extent_of_masks(const std::uint8_t* out, std::int64_t count, std::int64_t height, std::int64_t row_bytes) {
    return {out, static_cast<std::uintptr_t>(count) * static_cast<std::uintptr_t>(height) *
                     static_cast<std::uintptr_t>(row_bytes)};
}

/// The values of every mask are read after those before it were written.
Status check_out_apart(const MaskSources& sources, const MemoryExtent& written) {
    const auto floats = [&](const float* data, std::int64_t each) {
        return MemoryExtent(
            data, static_cast<std::uintptr_t>(sources.count) * static_cast<std::uintptr_t>(each) * sizeof(float));
    };
    const NamedExtent out{"out", written};
    Status status = check_apart(out, {"prototypes", MemoryExtent(sources.prototypes)});
    if (status.ok()) {
        status = check_apart(out, {"coefficients", floats(sources.coefficients, sources.prototypes.shape[1])});
    }
    if (status.ok()) status = check_apart(out, {"boxes", floats(sources.boxes, 4)});
    return status;
}

/// Calls visit(mask, its index) for each of the masks, which writes to `written` alone of the caller's memory.
template <typename Visit>
Status for_each_mask(const MaskSources& sources, const MaskGrid& grid, const MemoryExtent& written, Visit visit) {
    MaskPlan plan;
    Status status = plan_masks(sources, grid, &plan);
    if (status.ok()) status = check_out_apart(sources, written);
    if (!status.ok()) return status;
    MaskMemory memory;
    BitMask mask;
    for (std::int64_t i = 0; i < sources.count; ++i) {
        draw_mask(plan, sources.boxes + i * 4, sources.coefficients + i * plan.prototypes.channels, &memory, &mask);
        visit(mask, i);
    }
    return Status();
}

Status check_dense(const DenseMask& mask) {
    if (mask.data == nullptr || mask.height < 1 || mask.width < 1 || mask.width > kMostPixels / mask.height) {
        return Status::invalid_argument("mask is " + std::to_string(mask.height) + " x " + std::to_string(mask.width) +
                                        "; give sides from 1, and less than 2^31 pixels");
    }
    if (mask.row_pitch < mask.width) {
        return Status::invalid_argument("mask has rows " + std::to_string(mask.row_pitch) + " bytes apart; give " +
                                        std::to_string(mask.width) + " or more");
    }
    return Status();
}

BitMask bits_of(const DenseMask& dense) {
    BitMask mask;
    mask.reset(0, 0, dense.width, dense.height);
    for (std::int64_t y = 0; y < dense.height; ++y) {
        const std::uint8_t* from = dense.data + y * dense.row_pitch;
        std::uint64_t* row = mask.row(y);
        for (std::int64_t x = 0; x < dense.width; ++x) {
            row[x / BitMask::kBits] |= std::uint64_t{from[x] != 0 ? 1U : 0U} << (x % BitMask::kBits);
        }
    }
    return mask;
}

/// Writes a window's bits into rows of bytes that hold the whole grid.
void write_bits(const BitMask& mask, std::int64_t row_bytes, std::uint8_t* out) {
    const std::int64_t shift = mask.left() % 8;
    for (std::int64_t y = 0; y < mask.height(); ++y) {
        const std::uint64_t* row = mask.row(y);
        std::uint8_t* bytes = out + (mask.top() + y) * row_bytes + mask.left() / 8;
        const std::int64_t count = (shift + mask.width() + 7) / 8;
        for (std::int64_t byte = 0; byte < count; ++byte) {
            // Eight pixels from pixel byte * 8 - shift on, of which the first may lie left of the window.
            const std::int64_t place = byte * 8 - shift + BitMask::kBits;
            const std::uint64_t* word = row + place / BitMask::kBits - 1;
            const auto bit = static_cast<unsigned>(place % BitMask::kBits);
            std::uint64_t bits = word[0] >> bit;
            if (bit > BitMask::kBits - 8 && place / BitMask::kBits - 1 < mask.width() / BitMask::kBits)
                bits |= word[1] << (BitMask::kBits - bit);
            bytes[byte] = static_cast<std::uint8_t>(bytes[byte] | bits);
        }
    }
}

void write_dense(const BitMask& mask, std::int64_t width, std::uint8_t* out) {
    for (std::int64_t y = 0; y < mask.height(); ++y) {
        const std::uint64_t* row = mask.row(y);
        std::uint8_t* to = out + (mask.top() + y) * width + mask.left();
        for (std::int64_t x = 0; x < mask.width(); ++x)
            to[x] = static_cast<std::uint8_t>(row[x / BitMask::kBits] >> (x % BitMask::kBits) & 1U);
    }
}

/// The counts in a compressed text, one after the other.
class CompressedCounts {
  public:
    explicit CompressedCounts(const std::string& text) : text_(text) {}

    bool at_end() const { return place_ == text_.size(); }

    /// The next count; false where the text is damaged.
    bool next(std::int64_t* count) {
        std::int64_t value = 0;
        unsigned shift = 0;
        bool more = true;
        while (more) {
            if (at_end() || shift > 55) return false;
            const int digit = text_[place_++] - 48;
            if (digit < 0 || digit > 63) return false;
            value |= static_cast<std::int64_t>(digit & 31) << shift;
            shift += 5;
            more = (digit & 32) != 0;
            if (!more && (digit & 16) != 0) value -= std::int64_t{1} << shift;
        }
        if (index_ > 2) value += before_last_;
        ++index_;
        before_last_ = last_;
        last_ = value;
        *count = value;
        return true;
    }

  private:
    const std::string& text_;
    std::size_t place_ = 0;
    std::int64_t index_ = 0;
    std::int64_t last_ = 0;
    std::int64_t before_last_ = 0;
};

Polygons no_polygons() {
    Polygons polygons;
    polygons.first_points.push_back(0);
    polygons.first_contours.push_back(0);
    return polygons;
}

}  // namespace

Status check_grid(const MaskGrid& grid) {
    const bool has_sizes = grid.width >= 1 && grid.height >= 1 && grid.width <= kMostPixels / grid.height &&
                           grid.resized_width >= 1 && grid.resized_height >= 1 && grid.left >= 0 && grid.top >= 0 &&
                           grid.left <= grid.width - grid.resized_width &&
                           grid.top <= grid.height - grid.resized_height && grid.source.width >= 1 &&
                           grid.source.height >= 1 && grid.presampling >= 1;
    if (has_sizes) return Status();
    return Status::invalid_argument("grid is not one of plan_mask_grid's; its sizes do not fit together");
}

Status mask_kernels(MaskKernels* kernels) {
    InstructionSet instruction_set;
    Status status = active_instruction_set(&instruction_set);
    if (!status.ok()) return status;
    *kernels = MaskKernels{baseline::mix_prototypes, baseline::centre_probabilities, baseline::resample_row,
                           baseline::sign_words, baseline::blend_rows};
#if defined(RFK_X86_VARIANTS)
    if (instruction_set == InstructionSet::kAvx2) {
        *kernels = MaskKernels{avx2::mix_prototypes, avx2::centre_probabilities, avx2::resample_row, avx2::sign_words,
                               avx2::blend_rows};
    } else if (instruction_set == InstructionSet::kAvx512) {
        *kernels = MaskKernels{avx512::mix_prototypes, avx512::centre_probabilities, avx512::resample_row,
                               avx512::sign_words, avx512::blend_rows};
    }
#endif
    return status;
}

Status plan_masks(const MaskSources& sources, const MaskGrid& grid, MaskPlan* plan) {
    Status status = check_grid(grid);
    if (!status.ok()) return status;
    const TensorView& view = sources.prototypes;
    if (view.rank != 4 || view.shape[0] != 1) {
        return Status::invalid_argument("prototypes has shape " + shape_of(view) +
                                        "; give [1, channels, height, width]");
    }
    Plane plane;
    status = as_plane(view, "prototypes", &plane);
    if (!status.ok()) return status;
    if (view.shape[1] > kMostChannels) {
        return Status::invalid_argument("prototypes has " + std::to_string(view.shape[1]) + " channels; give at most " +
                                        std::to_string(kMostChannels));
    }
    if (view.shape[2] != grid.prototype_height || view.shape[3] != grid.prototype_width) {
        return Status::invalid_argument("prototypes has shape " + shape_of(view) + ", but grid is planned for " +
                                        std::to_string(grid.prototype_height) + " x " +
                                        std::to_string(grid.prototype_width));
    }
    if (sources.count < 0 || (sources.count > 0 && (sources.coefficients == nullptr || sources.boxes == nullptr))) {
        return Status::invalid_argument("count is " + std::to_string(sources.count) +
                                        "; give coefficients and a box for each mask");
    }
    plan->grid = grid;
    plan->prototypes = PrototypeValues{plane.data, plane.dtype, plane.channel_step, plane.anchor_step, view.shape[1]};
    // One channel: its step is not used, and means nothing.
    if (view.shape[1] == 1) plan->prototypes.channel_step = plane.anchor_step == 1 ? 0 : 1;
    plan->columns = plan_resampling(grid.source.x, grid.source.width, grid.resized_width, grid.antialias,
                                    grid.presampling, grid.prototype_width);
    plan->rows = plan_resampling(grid.source.y, grid.source.height, grid.resized_height, grid.antialias,
                                 grid.presampling, grid.prototype_height);
    return mask_kernels(&plan->kernels);
}

Status masks_to_polygons(const MaskSources& sources, const MaskGrid& grid, ContourChoice choice, Polygons* result) {
    return guarded(kNoMemory, [&]() -> Status {
        Polygons polygons = no_polygons();
        TracedPixels traced;
        Status status = for_each_mask(sources, grid, MemoryExtent(), [&](const BitMask& mask, std::int64_t) {
            append_contours(mask, choice, &traced, &polygons);
            polygons.areas.push_back(mask.count_set());
        });
        if (status.ok()) *result = std::move(polygons);
        return status;
    });
}

Status masks_to_run_lengths(const MaskSources& sources, const MaskGrid& grid, RunLengths* result) {
    return guarded(kNoMemory, [&]() -> Status {
        RunLengths lengths;
        RunLengthMemory memory;
        Status status = for_each_mask(sources, grid, MemoryExtent(), [&](const BitMask& mask, std::int64_t) {
            lengths.counts.push_back(run_lengths_of(mask, grid.width, grid.height, &memory));
            lengths.areas.push_back(mask.count_set());
        });
        if (status.ok()) *result = std::move(lengths);
        return status;
    });
}

Status masks_to_bits(const MaskSources& sources, const MaskGrid& grid, std::uint8_t* out) {
    return guarded(kNoMemory, [&]() -> Status {
        const std::int64_t row_bytes = (grid.width + 7) / 8;
        Status status = check_out(out, sources.count > 0);
        if (!status.ok()) return status;
        const MemoryExtent written = extent_of_masks(out, sources.count, grid.height, row_bytes);
        return for_each_mask(sources, grid, written, [&](const BitMask& mask, std::int64_t index) {
            std::uint8_t* to = out + index * grid.height * row_bytes;
            std::memset(to, 0, static_cast<std::size_t>(grid.height * row_bytes));
            write_bits(mask, row_bytes, to);
        });
    });
}

Status masks_to_dense(const MaskSources& sources, const MaskGrid& grid, std::uint8_t* out) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_out(out, sources.count > 0);
        if (!status.ok()) return status;
        const MemoryExtent written = extent_of_masks(out, sources.count, grid.height, grid.width);
        return for_each_mask(sources, grid, written, [&](const BitMask& mask, std::int64_t index) {
            std::uint8_t* to = out + index * grid.height * grid.width;
            std::memset(to, 0, static_cast<std::size_t>(grid.height * grid.width));
            write_dense(mask, grid.width, to);
        });
    });
}

Status find_contours(const DenseMask& mask, ContourChoice choice, Polygons* result) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_dense(mask);
        if (!status.ok()) return status;
        const BitMask bits = bits_of(mask);
        Polygons polygons = no_polygons();
        TracedPixels traced;
        append_contours(bits, choice, &traced, &polygons);
        polygons.areas.push_back(bits.count_set());
        *result = std::move(polygons);
        return status;
    });
}

Status encode_run_lengths(const DenseMask& mask, RunLengths* result) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_dense(mask);
        if (!status.ok()) return status;
        const BitMask bits = bits_of(mask);
        RunLengthMemory memory;
        RunLengths lengths;
        lengths.counts.push_back(run_lengths_of(bits, mask.width, mask.height, &memory));
        lengths.areas.push_back(bits.count_set());
        *result = std::move(lengths);
        return status;
    });
}

Status decode_run_lengths(const std::string& counts, std::int64_t height, std::int64_t width, std::uint8_t* out) {
    return guarded(kNoMemory, [&]() -> Status {
        if (height < 1 || width < 1 || width > kMostPixels / height) {
            return Status::invalid_argument("size is " + std::to_string(height) + " x " + std::to_string(width) +
                                            "; give sides from 1, and less than 2^31 pixels");
        }
        Status status = check_out(out, true);
        if (!status.ok()) return status;
        const std::int64_t total = height * width;
        std::memset(out, 0, static_cast<std::size_t>(total));
        CompressedCounts reader(counts);
        std::int64_t place = 0;
        bool inside = false;
        while (!reader.at_end()) {
            std::int64_t count = 0;
            if (!reader.next(&count) || count < 0 || count > total - place) {
                return Status::invalid_argument("counts are damaged, or those of a mask of another size than " +
                                                std::to_string(height) + " x " + std::to_string(width));
            }
            for (std::int64_t end = place + count; inside && place < end; ++place)
                out[place % height * width + place / height] = 1;
            if (!inside) place += count;
            inside = !inside;
        }
        if (place != total) {
            return Status::invalid_argument("counts end at pixel " + std::to_string(place) + " of " +
                                            std::to_string(total) + "; give those of a mask of this size");
        }
        return Status();
    });
}

}  // namespace rfkernels
