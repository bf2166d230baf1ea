// The emulated device's schedules and what it has found, for tests and `rfkernels bench kernels`.

#include "common.h"

#if defined(RFK_HAS_EMULATION)

#include <mutex>
#include <string>

#include "device/emulated/emulated_device.h"
#include "emulation/emulation.h"
#include "emulation/occupancy.h"

namespace rfkernels::bindings {
namespace {

using emulation::Emulator;
using emulation::Order;

Order order_of(const std::string& name, const char* argument) {
    if (name == "sequential") return Order::kSequential;
    if (name == "reverse") return Order::kReverse;
    if (name == "random") return Order::kRandom;
    throw py::value_error(std::string(argument) + " is \"" + name +
                          "\"; give \"sequential\", \"reverse\" or \"random\"");
}

py::dict counts_of(const emulation::RequestCounts& counts) {
    py::dict result;
    result["requests"] = counts.requests;
    result["sectors"] = counts.sectors;
    result["most_sectors"] = counts.most_sectors;
    result["lanes"] = counts.lanes;
    result["bytes"] = counts.bytes;
    return result;
}

py::tuple extent_of(const emulation::Extent& extent) {
    return py::make_tuple(extent.x, extent.y, extent.z);
}

py::dict record_of(const emulation::LaunchRecord& record) {
    py::dict moved;
    for (const auto& [name, part] : record.traffic.moved)
        moved[py::str(name)] = py::make_tuple(part.read, part.written);
    py::dict result;
    result["kernel"] = record.kernel;
    result["grid"] = extent_of(record.grid);
    result["block"] = extent_of(record.block);
    result["shared_bytes"] = record.shared_bytes;
    result["barriers"] = record.barriers;
    result["loads"] = counts_of(record.traffic.global_loads);
    result["stores"] = counts_of(record.traffic.global_stores);
    result["atomics"] = record.traffic.global_atomics;
    result["shared_requests"] = record.traffic.shared_requests;
    result["shared_wavefronts"] = record.traffic.shared_wavefronts;
    result["bank_conflicts"] = record.traffic.bank_conflicts;
    result["moved"] = moved;
    result["moved_bytes"] = record.traffic.moved_bytes();
    return result;
}

}  // namespace

void bind_emulation(py::module_& parent) {
    py::module_ module = parent.def_submodule("emulation", "How the emulated device runs kernels, and what it found.");
    module.attr("has_hooks") = emulation::hooks_are_compiled_in();
    module.def(
        "configure",
        [](const std::string& lanes, const std::string& blocks, std::uint64_t seed, unsigned resident_blocks,
           double preemption, bool check, bool count_traffic, bool eager) {
            emulation::Options options;
            options.lanes = order_of(lanes, "lanes");
            options.blocks = order_of(blocks, "blocks");
            options.seed = seed;
            options.resident_blocks = resident_blocks;
            options.preemption = preemption;
            options.check = check;
            options.count_traffic = count_traffic;
            const py::gil_scoped_release release;
            emulated::EmulatedDevice::instance().set_eager(eager);
            Emulator& emulator = Emulator::instance();
            const std::lock_guard<std::mutex> lock(emulator.mutex);
            emulator.options = options;
            emulator.keep_records = count_traffic;
        },
        py::kw_only(), py::arg("lanes") = "sequential", py::arg("blocks") = "sequential", py::arg("seed") = 1,
        py::arg("resident_blocks") = 1, py::arg("preemption") = 0.0, py::arg("check") = true,
        py::arg("count_traffic") = false, py::arg("eager") = false, "For all launches to come.");
    module.def(
        "take_findings",
        [] {
            std::vector<emulation::Finding> findings;
            {
                const py::gil_scoped_release release;
                Emulator& emulator = Emulator::instance();
                const std::lock_guard<std::mutex> lock(emulator.mutex);
                findings = emulator.findings.take();
            }
            py::list result;
            for (const emulation::Finding& finding : findings) {
                result.append(py::make_tuple(name_of(finding.kind), finding.kernel, finding.message, finding.count));
            }
            return result;
        },
        "(kind, kernel, message, how often) of what is wrong with kernels that ran since this was last called.");
    module.def(
        "take_records",
        [] {
            std::vector<emulation::LaunchRecord> records;
            {
                const py::gil_scoped_release release;
                Emulator& emulator = Emulator::instance();
                const std::lock_guard<std::mutex> lock(emulator.mutex);
                records = std::exchange(emulator.records, {});
            }
            py::list result;
            for (const emulation::LaunchRecord& record : records) result.append(record_of(record));
            return result;
        },
        "What launches moved since this was last called, where count_traffic is on.");
    module.def(
        "mark_written",
        [](std::uintptr_t address, std::size_t bytes) {
            Emulator& emulator = Emulator::instance();
            const std::lock_guard<std::mutex> lock(emulator.mutex);
            emulator.memory.mark_initialised(reinterpret_cast<const void*>(address), bytes);
        },
        py::arg("address"), py::arg("bytes"), "Says that a library has written device memory.");
    module.def(
        "occupancy",
        [](int architecture, int lanes, int registers, std::size_t shared_bytes) {
            emulation::Occupancy occupancy;
            if (!emulation::occupancy_of(architecture, {registers, lanes, shared_bytes}, &occupancy)) {
                throw py::value_error("no kernel with " + std::to_string(lanes) + " lanes in a block, " +
                                      std::to_string(registers) + " registers and " + std::to_string(shared_bytes) +
                                      " bytes of shared memory runs on sm_" + std::to_string(architecture) +
                                      "; give one of the architectures that kernels are built for");
            }
            return py::make_tuple(occupancy.blocks, occupancy.warps, occupancy.most_warps);
        },
        py::arg("architecture"), py::kw_only(), py::arg("lanes"), py::arg("registers"), py::arg("shared_bytes"),
        "(blocks, warps, warps that there is room for) of a kernel on a multiprocessor at a time.");
    module.def(
        "live_allocations",
        [] {
            Emulator& emulator = Emulator::instance();
            const std::lock_guard<std::mutex> lock(emulator.mutex);
            return py::make_tuple(emulator.memory.live_count(), emulator.memory.live_bytes());
        },
        "How many there are on the emulated device, and their bytes.");
}

}  // namespace rfkernels::bindings

#else

namespace rfkernels::bindings {
void bind_emulation(py::module_&) {}
}  // namespace rfkernels::bindings

#endif
