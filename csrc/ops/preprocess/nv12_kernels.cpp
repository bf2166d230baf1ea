// Compiled once for each instruction set. A row of luma and the row of chroma beside it become pixels in a buffer that
// stays in the first-level cache; the picture as a whole is never there. Loops are written for the compiler's vectors:
// 32-bit sums, no branches.

#include "ops/preprocess/nv12_kernels.h"

#include <cstring>

#include "ops/preprocess/nv12_arithmetic.h"

namespace rfkernels::RFK_VARIANT {
namespace {

struct Planes {
    const std::uint8_t* luma;
    const std::uint8_t* chroma;
};

/// From the image's left edge.
Planes row_of(const Nv12Plan& plan, std::int64_t row) {
    return Planes{plan.luma + row * plan.luma_pitch, plan.chroma + (row + plan.odd_top) / 2 * plan.chroma_pitch};
}

/// Into the second cache, as the packed rows of preprocess_kernels.cpp. (Inlined by force: see there.)
__attribute__((always_inline)) inline void prefetch(const Nv12Plan& plan, std::int64_t row) {
    const Planes planes = row_of(plan, row);
    for (std::int64_t column = plan.first_column; column < plan.end_column; column += 64) {
        __builtin_prefetch(planes.luma + column, 0, 2);
        __builtin_prefetch(planes.chroma + column, 0, 2);
    }
}

/// `count` pixels, two by two: each pair shares its chroma.
void convert_pairs(const std::uint8_t* __restrict luma, const std::uint8_t* __restrict chroma,
                   std::uint32_t* __restrict pixels, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += 2) {
        const int u = chroma[i];
        const int v = chroma[i + 1];
        const std::int32_t first = nv12::luma_part(luma[i]);
        const std::int32_t second = nv12::luma_part(luma[i + 1]);
        const std::int32_t blue = nv12::blue_part(u);
        const std::int32_t green = nv12::green_part(u, v);
        const std::int32_t red = nv12::red_part(v);
        pixels[i] = nv12::byte_of(first, blue) | nv12::byte_of(first, green) << 8U | nv12::byte_of(first, red) << 16U;
        pixels[i + 1] =
            nv12::byte_of(second, blue) | nv12::byte_of(second, green) << 8U | nv12::byte_of(second, red) << 16U;
    }
}

/// The luma and the chroma, u in the low byte, of pixels that lie apart, side by side.
void gather(const std::uint8_t* __restrict from_luma, const std::uint8_t* __restrict from_chroma,
            const std::int32_t* __restrict columns, std::int64_t count, std::uint8_t* __restrict luma,
            std::uint16_t* __restrict chroma) {
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t column = columns[i];
        luma[i] = from_luma[column];
        std::memcpy(chroma + i, from_chroma + (column & ~1), sizeof(*chroma));
    }
}

void gather(const Nv12Plan& plan, const Planes& planes) {
    gather(planes.luma, planes.chroma, plan.columns, plan.column_count, plan.gathered_luma, plan.gathered_chroma);
}

void convert_gathered(const std::uint8_t* __restrict luma, const std::uint16_t* __restrict chroma,
                      std::uint32_t* __restrict pixels, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) pixels[i] = nv12::pixel(luma[i], chroma[i] & 0xFF, chroma[i] >> 8);
}

void convert_gathered_to_planes(const std::uint8_t* __restrict luma, const std::uint16_t* __restrict chroma,
                                std::uint8_t* __restrict blue, std::uint8_t* __restrict green,
                                std::uint8_t* __restrict red, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t part = nv12::luma_part(luma[i]);
        const int u = chroma[i] & 0xFF;
        const int v = chroma[i] >> 8;
        blue[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::blue_part(u)));
        green[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::green_part(u, v)));
        red[i] = static_cast<std::uint8_t>(nv12::byte_of(part, nv12::red_part(v)));
    }
}

}  // namespace

const std::uint8_t* convert_row(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::int64_t slot) {
    prefetch(plan, next_row);
    const Planes planes = row_of(plan, row);
    std::uint32_t* const pixels = plan.rows + slot * plan.row_pitch;
    if (plan.columns == nullptr) {
        convert_pairs(planes.luma + plan.first_column, planes.chroma + plan.first_column, pixels,
                      plan.end_column - plan.first_column);
    } else {
        gather(plan, planes);
        convert_gathered(plan.gathered_luma, plan.gathered_chroma, pixels, plan.column_count);
    }
    return reinterpret_cast<const std::uint8_t*>(pixels);
}

void convert_row_to_planes(const Nv12Plan& plan, std::int64_t row, std::int64_t next_row, std::uint8_t* planes,
                           std::int64_t plane_pitch) {
    prefetch(plan, next_row);
    gather(plan, row_of(plan, row));
    convert_gathered_to_planes(plan.gathered_luma, plan.gathered_chroma, planes, planes + plane_pitch,
                               planes + 2 * plane_pitch, plan.column_count);
}

}  // namespace rfkernels::RFK_VARIANT
