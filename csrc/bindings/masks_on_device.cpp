#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "common.h"
#include "mask_results.h"
#include "on_device.h"
#include "rfkernels/masks.h"

namespace rfkernels::bindings {
namespace {

MaskDeviceLayout layout_of(const py::tuple& numbers) {
    MaskDeviceLayout layout;
    layout.image_count = numbers[0].cast<std::int64_t>();
    layout.max_detections = numbers[1].cast<std::int64_t>();
    layout.prototype_height = numbers[2].cast<std::int64_t>();
    layout.prototype_width = numbers[3].cast<std::int64_t>();
    layout.most_grid_height = numbers[4].cast<std::int64_t>();
    layout.most_grid_width = numbers[5].cast<std::int64_t>();
    return layout;
}

using MasksOnDevice = Status(Device&, const MaskDeviceLayout&, const DeviceMaskSources&, const void*,
                             const DeviceMaskResults&, void*, Stream);

MasksOnDevice* function_of(const std::string& form) {
    if (form == "bits") return &masks_to_bits_on_device;
    if (form == "runs") return &masks_to_runs_on_device;
    if (form == "dense") return &masks_to_dense_on_device;
    throw py::value_error("form is \"" + form + "\"; give \"bits\", \"runs\" or \"dense\"");
}

/// The records of one image, and the summary, from memory of the host.
struct Downloaded {
    MaskSummary summary;
    std::vector<MaskRecord> records;
};

Downloaded read_downloaded(const py::array_t<std::uint8_t>& summary, const py::array_t<std::uint8_t>& records,
                           std::int64_t first, std::int64_t count) {
    const std::int64_t room = records.size() / static_cast<std::int64_t>(sizeof(MaskRecord));
    if (summary.size() != sizeof(MaskSummary) || first < 0 || count < 0 || first > room - count) {
        throw py::value_error("summary or records is not what the device has written");
    }
    Downloaded result;
    std::memcpy(&result.summary, summary.data(), sizeof(MaskSummary));
    result.records.resize(static_cast<std::size_t>(count));
    std::memcpy(result.records.data(), records.data() + first * static_cast<std::int64_t>(sizeof(MaskRecord)),
                static_cast<std::size_t>(count) * sizeof(MaskRecord));
    return result;
}

}  // namespace

void bind_masks_on_device(py::module_& module) {
    using Bytes = py::array_t<std::uint8_t>;
    module.attr("MASK_SUMMARY_BYTES") = sizeof(MaskSummary);
    module.attr("MASK_RECORD_BYTES") = sizeof(MaskRecord);
    module.def(
        "mask_descriptor_bytes", [](const py::tuple& layout) { return mask_descriptor_bytes(layout_of(layout)); },
        py::arg("layout"), "Bytes that describe_masks writes.");
    module.def(
        "mask_scratch_bytes",
        [](const py::tuple& layout, std::int64_t arena_runs) {
            return mask_scratch_bytes(layout_of(layout), arena_runs);
        },
        py::arg("layout"), py::arg("arena_runs"), "Device memory that masks work in.");
    module.def(
        "describe_masks",
        [](Bytes descriptors, const py::tuple& layout, const std::vector<MaskGrid>& grids) {
            const MaskDeviceLayout given = layout_of(layout);
            const std::size_t needed = mask_descriptor_bytes(given);
            if (static_cast<std::int64_t>(grids.size()) != given.image_count ||
                needed > static_cast<std::size_t>(descriptors.size())) {
                throw py::value_error("grids holds " + std::to_string(grids.size()) + " for " +
                                      std::to_string(given.image_count) + " images, descriptors " +
                                      std::to_string(descriptors.size()) + " bytes of " + std::to_string(needed));
            }
            raise_if_failed(describe_masks(given, grids.data(), descriptors.mutable_data()));
        },
        py::arg("descriptors").noconvert(), py::arg("layout"), py::arg("grids"),
        "What masks on a device read, into host memory.");
    module.def(
        "masks_on_device",
        [](Device& device, const std::string& form, const py::tuple& layout, const py::tuple& prototypes,
           const std::vector<py::tuple>& coefficient_levels, const std::optional<py::tuple>& coefficient_rows,
           const std::optional<py::tuple>& anchor_indices, const py::tuple& boxes, const py::tuple& counts,
           std::uintptr_t descriptors, std::uintptr_t summary, std::uintptr_t records, std::uintptr_t arena,
           std::int64_t arena_capacity, std::uintptr_t scratch, std::uintptr_t stream) {
            MasksOnDevice* const function = function_of(form);
            const MaskDeviceLayout given = layout_of(layout);
            std::vector<TensorView> levels;
            for (std::size_t i = 0; i < coefficient_levels.size(); ++i) {
                levels.push_back(device_view(coefficient_levels[i], "coefficients[" + std::to_string(i) + "]"));
            }
            DeviceMaskSources sources;
            sources.prototypes = device_view(prototypes, "prototypes");
            sources.coefficient_levels = levels.data();
            sources.coefficient_level_count = static_cast<std::int64_t>(levels.size());
            if (coefficient_rows) sources.coefficient_rows = device_view(*coefficient_rows, "coefficients");
            if (anchor_indices) {
                sources.anchor_indices = packed_device_array<std::int32_t>(
                    *anchor_indices, "anchor_indices", DataType::kInt32, {given.image_count, given.max_detections});
            }
            sources.boxes = packed_device_array<float>(boxes, "boxes", DataType::kFloat32,
                                                       {given.image_count, given.max_detections, 4});
            sources.counts = packed_device_array<std::int32_t>(counts, "counts", DataType::kInt32, {given.image_count});
            DeviceMaskResults results;
            results.summary = static_cast<MaskSummary*>(pointer_at(summary));
            results.records = static_cast<MaskRecord*>(pointer_at(records));
            results.arena = pointer_at(arena);
            results.arena_capacity = arena_capacity;
            without_lock([&] {
                return function(device, given, sources, pointer_at(descriptors), results, pointer_at(scratch),
                                pointer_at(stream));
            });
        },
        py::arg("device"), py::arg("form"), py::arg("layout"), py::arg("prototypes"), py::arg("coefficient_levels"),
        py::arg("coefficient_rows"), py::arg("anchor_indices"), py::arg("boxes"), py::arg("counts"),
        py::arg("descriptors"), py::arg("summary"), py::arg("records"), py::arg("arena"), py::arg("arena_capacity"),
        py::arg("scratch"), py::arg("stream"),
        "Masks of detections that the device has found, in two or three launches.");
    module.def(
        "mask_summary",
        [](const Bytes& summary) {
            const Downloaded downloaded = read_downloaded(summary, Bytes(0), 0, 0);
            return py::make_tuple(downloaded.summary.needed, downloaded.summary.overflowed != 0);
        },
        py::arg("summary"), "Elements of the arena that all masks take, and whether that is more than it has.");
    module.def(
        "polygons_from_bits",
        [](const Bytes& summary, const Bytes& records, std::int64_t first, std::int64_t count,
           const py::array_t<std::uint64_t>& arena, bool all_contours) {
            const Downloaded downloaded = read_downloaded(summary, records, first, count);
            Polygons polygons;
            without_lock([&] {
                return polygons_from_bits(downloaded.summary, downloaded.records.data(), count, arena.data(),
                                          arena.size(), choice_of(all_contours), &polygons);
            });
            return as_tuple(std::move(polygons));
        },
        py::arg("summary"), py::arg("records"), py::arg("first"), py::arg("count"), py::arg("arena").noconvert(),
        py::arg("all_contours"), "Outlines of one image's masks, from what the device has written.");
    module.def(
        "run_lengths_from_runs",
        [](const Bytes& summary, const Bytes& records, std::int64_t first, std::int64_t count,
           const py::array_t<std::int32_t>& arena, const MaskGrid& grid) {
            const Downloaded downloaded = read_downloaded(summary, records, first, count);
            RunLengths lengths;
            without_lock([&] {
                return run_lengths_from_runs(downloaded.summary, downloaded.records.data(), count, arena.data(),
                                             arena.size(), grid, &lengths);
            });
            return as_tuple(std::move(lengths));
        },
        py::arg("summary"), py::arg("records"), py::arg("first"), py::arg("count"), py::arg("arena").noconvert(),
        py::arg("grid"), "Run lengths of one image's masks, from what the device has written.");
}

}  // namespace rfkernels::bindings
