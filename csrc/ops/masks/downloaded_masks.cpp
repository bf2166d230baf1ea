// Masks that a device has drawn, on the host again.

#include "contours.h"
#include "device/guarded.h"
#include "rfkernels/masks.h"
#include "run_lengths.h"

namespace rfkernels {
namespace {

constexpr const char* kNoMemory = "not enough memory for the masks";

Status check_arena(const MaskSummary& summary, const MaskRecord* records, std::int64_t count, const void* arena,
                   std::int64_t arena_elements) {
    if (summary.overflowed != 0) {
        return Status::invalid_argument("arena was too small for the masks, and holds none: they take " +
                                        std::to_string(summary.needed) + " elements; give as many");
    }
    if (count < 0 || (count > 0 && records == nullptr)) {
        return Status::invalid_argument("count is " + std::to_string(count) + "; give a record for each mask");
    }
    if (arena_elements < 0 || (arena_elements > 0 && arena == nullptr)) {
        return Status::invalid_argument("arena_elements is " + std::to_string(arena_elements) +
                                        "; give the arena that was copied from the device");
    }
    return Status();
}

/// What stands in a record, which damaged or forgotten memory may be, must lie in the arena.
Status check_record(const MaskRecord& record, std::int64_t index, std::int64_t arena_elements) {
    const bool lies_inside = record.count >= 0 && record.first >= 0 && record.first <= arena_elements &&
                             record.count <= arena_elements - record.first;
    const bool has_window = record.left >= 0 && record.top >= 0 && record.width >= 0 && record.height >= 0;
    if (lies_inside && has_window) return Status();
    return Status::invalid_argument("records[" + std::to_string(index) + "] has " + std::to_string(record.count) +
                                    " elements from " + std::to_string(record.first) + " on, but arena_elements is " +
                                    std::to_string(arena_elements) + "; give records and arena of one call");
}

}  // namespace

Status polygons_from_bits(const MaskSummary& summary, const MaskRecord* records, std::int64_t count,
                          const std::uint64_t* arena, std::int64_t arena_elements, ContourChoice choice,
                          Polygons* result) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_arena(summary, records, count, arena, arena_elements);
        if (!status.ok()) return status;
        Polygons polygons;
        polygons.first_points.push_back(0);
        polygons.first_contours.push_back(0);
        TracedPixels traced;
        BitMask mask;
        for (std::int64_t i = 0; i < count; ++i) {
            const MaskRecord& record = records[i];
            status = check_record(record, i, arena_elements);
            if (!status.ok()) return status;
            const std::int64_t words = (static_cast<std::int64_t>(record.width) + BitMask::kBits - 1) / BitMask::kBits;
            if (words * record.height != record.count) {
                return Status::invalid_argument("records[" + std::to_string(i) + "] has " +
                                                std::to_string(record.count) + " elements for a window of " +
                                                std::to_string(record.height) + " x " + std::to_string(record.width) +
                                                "; give records of masks_to_bits_on_device");
            }
            // Nothing is a window of 0 x 0, whatever its other side.
            mask.reset(record.left, record.top, record.count > 0 ? record.width : 0,
                       record.count > 0 ? record.height : 0);
            for (std::int64_t word = 0; word < words; ++word) {
                const std::uint64_t* column = arena + record.first + word * record.height;
                for (std::int64_t y = 0; y < record.height; ++y) mask.row(y)[word] = column[y];
            }
            append_contours(mask, choice, &traced, &polygons);
            polygons.areas.push_back(mask.count_set());
        }
        *result = std::move(polygons);
        return status;
    });
}

Status run_lengths_from_runs(const MaskSummary& summary, const MaskRecord* records, std::int64_t count,
                             const std::int32_t* arena, std::int64_t arena_elements, const MaskGrid& grid,
                             RunLengths* result) {
    return guarded(kNoMemory, [&]() -> Status {
        Status status = check_arena(summary, records, count, arena, arena_elements);
        if (!status.ok()) return status;
        RunLengths lengths;
        std::vector<std::int64_t> changes;
        for (std::int64_t i = 0; i < count; ++i) {
            status = check_record(records[i], i, arena_elements);
            if (!status.ok()) return status;
            const std::int32_t* run = arena + records[i].first;
            const std::int32_t* const end = run + records[i].count;
            std::int64_t area = 0;
            changes.clear();
            for (std::int64_t last = 0; end - run >= 2; run += 2) {
                if (run[0] < last || run[1] < run[0] || run[1] > grid.width * grid.height) break;
                last = run[1];
                area += run[1] - run[0];
                append_change(run[0], &changes);
                append_change(run[1], &changes);
            }
            if (run != end) {
                return Status::invalid_argument("records[" + std::to_string(i) +
                                                "] has runs that are not ascending in a grid of " +
                                                std::to_string(grid.height) + " x " + std::to_string(grid.width) +
                                                "; give the arena of masks_to_runs_on_device and the image's grid");
            }
            lengths.counts.push_back(run_lengths_of_changes(&changes, grid.width * grid.height));
            lengths.areas.push_back(area);
        }
        *result = std::move(lengths);
        return status;
    });
}

}  // namespace rfkernels
