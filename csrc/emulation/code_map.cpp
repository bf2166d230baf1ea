#include "emulation/code_map.h"

#include <link.h>

#include <cstdint>
#include <sstream>
#include <vector>

namespace rfkernels::emulation {
namespace {

struct Segment {
    std::uintptr_t begin;
    std::uintptr_t end;
    bool is_writable;
};

struct CodeMap {
    std::uintptr_t base = 0;
    std::vector<Segment> segments;
};

int read_object(dl_phdr_info* info, std::size_t, void* result) {
    CodeMap map;
    map.base = info->dlpi_addr;
    bool is_ours = false;
    const std::uintptr_t own = reinterpret_cast<std::uintptr_t>(&read_object);
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD) continue;
        const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
        map.segments.push_back(Segment{begin, begin + header.p_memsz, (header.p_flags & PF_W) != 0});
        is_ours = is_ours || (own >= begin && own < begin + header.p_memsz);
    }
    if (!is_ours) return 0;
    *static_cast<CodeMap*>(result) = std::move(map);
    return 1;
}

const CodeMap& code_map() {
    static const CodeMap map = [] {
        CodeMap found;
        dl_iterate_phdr(&read_object, &found);
        return found;
    }();
    return map;
}

const Segment* segment_of(const void* address) {
    const std::uintptr_t byte = reinterpret_cast<std::uintptr_t>(address);
    for (const Segment& segment : code_map().segments) {
        if (byte >= segment.begin && byte < segment.end) return &segment;
    }
    return nullptr;
}

}  // namespace

bool is_constant(const void* address) {
    const Segment* segment = segment_of(address);
    return segment != nullptr && !segment->is_writable;
}

bool is_static_variable(const void* address) {
    const Segment* segment = segment_of(address);
    return segment != nullptr && segment->is_writable;
}

std::string name_of_place(const void* place) {
    std::ostringstream text;
    text << "code+0x" << std::hex << reinterpret_cast<std::uintptr_t>(place) - code_map().base;
    return text.str();
}

}  // namespace rfkernels::emulation
