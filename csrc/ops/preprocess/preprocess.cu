// One launch for a batch. A warp owns one row of a canvas and 128 columns of it, a lane four of these, side by side:
//   - the source row's part that they need goes to shared memory, word by word, each word once; rows of weight 0 are
//     not read
//   - each lane takes its pixels from there. Four columns a lane are 3 * 4 * scale bytes from one lane to the next: at
//     scale 3, 1080p to 640, nine words, so that 32 lanes meet 32 banks. Of an NV12 image both planes' parts go there,
//     and a pixel becomes three bytes when a lane takes it: three words from lane to lane, of either plane
//   - and writes four elements of each plane at once.
// Warps do not wait for each other, but once: the taps of the 128 columns, which need float64, are found by the block.

#include "device/kernel.h"
#include "ops/preprocess/nv12_arithmetic.h"
#include "ops/preprocess/preprocess_device.h"
#include "ops/preprocess/resize_arithmetic.h"

namespace rfkernels::RFK_DEVICE {
namespace {

constexpr int kWarpLanes = 32;
constexpr int kWarps = 8;
constexpr int kLaneColumns = 4;
constexpr int kTileColumns = kWarpLanes * kLaneColumns;
constexpr int kSpanWords = 640;  // of a source row that a warp can stage: scale 6 of three channels, 4K to 640
constexpr int kChannels = 3;

// Blocks that registers leave room for on one multiprocessor: as many as without NV12. For compute capability 10 and
// later nvcc takes more registers for the same, and spills where it may not.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kBilinearBlocks = 3;
#else
constexpr int kBilinearBlocks = 4;
#endif
constexpr int kAntialiasedBlocks = 2;

struct Pixels {
    int values[kLaneColumns][kChannels];
};

/// Three bytes of a source pixel, the lowest first; of a grey image one byte three times.
__device__ __forceinline__ int channel_of(unsigned pixel, int channel, bool is_grey) {
    return static_cast<int>(pixel >> (is_grey ? 0 : 8 * channel) & 0xFFU);
}

/// A part of a source row in shared memory; `origin` is the byte of the row that its first word begins with.
struct StagedRow {
    const unsigned* words;
    int origin;

    __device__ __forceinline__ unsigned pixel_at(int byte) const {
        const int offset = byte - origin;
        const unsigned* word = words + offset / 4;
        return __funnelshift_r(word[0], word[1], static_cast<unsigned>(offset % 4) * 8U);
    }
};

/// A source row where it lies: for parts too long to stage, whose pixels are far apart.
struct DirectRow {
    const std::uint8_t* row;
    int row_bytes;

    __device__ __forceinline__ unsigned pixel_at(int byte) const {
        unsigned pixel = row[byte];
        if (byte + 2 < row_bytes)
            pixel |= static_cast<unsigned>(row[byte + 1]) << 8U | static_cast<unsigned>(row[byte + 2]) << 16U;
        return pixel;
    }
};

/// The luma and the chroma of a row, both in shared memory; a pixel is the BGR one that they stand for.
struct StagedNv12Row {
    StagedRow luma;
    StagedRow chroma;

    __device__ __forceinline__ unsigned pixel_at(int column) const {
        const int offset = column - luma.origin;
        const unsigned value = luma.words[offset / 4] >> static_cast<unsigned>(offset % 4) * 8U & 0xFFU;
        const unsigned pair = chroma.pixel_at(column & ~1);
        return nv12::pixel(static_cast<int>(value), static_cast<int>(pair & 0xFFU),
                           static_cast<int>(pair >> 8U & 0xFFU));
    }
};

/// The same where they lie.
struct DirectNv12Row {
    const std::uint8_t* luma;
    const std::uint8_t* chroma;

    __device__ __forceinline__ unsigned pixel_at(int column) const {
        const std::uint8_t* const pair = chroma + (column & ~1);
        return nv12::pixel(luma[column], pair[0], pair[1]);
    }
};

/// The bytes [begin, end) of a row, by one warp. Words are read from a multiple of 32 bytes on, so that a request of 32
/// words touches four sectors; a word that leaves the row is put together from its bytes in the row, others being 0.
__device__ __forceinline__ StagedRow stage(const std::uint8_t* row, int row_bytes, int begin, int end, unsigned* words,
                                           int lane) {
    const int misaligned = static_cast<int>(reinterpret_cast<std::uintptr_t>(row + begin) % 32U);
    const int origin = begin - misaligned;
    for (int word = lane; origin + 4 * word < end; word += kWarpLanes) {
        const int first = origin + 4 * word;
        if (first + 4 <= begin) continue;
        if (first >= 0 && first + 4 <= row_bytes) {
            words[word] = *reinterpret_cast<const unsigned*>(row + first);
        } else {
            unsigned value = 0;
            for (int byte = 0; byte < 4; ++byte) {
                if (first + byte >= 0 && first + byte < row_bytes) {
                    value |= static_cast<unsigned>(row[first + byte]) << (8 * byte);
                }
            }
            words[word] = value;
        }
    }
    return StagedRow{words, origin};
}

/// Of the columns that a block draws: the byte of each one's first pixel in the image's row, and either its two weights
/// (the left one in the lower half) or the number of its window's pixels.
struct ColumnTaps {
    int* offsets;
    unsigned* weights;
};

__device__ __forceinline__ void find_column_taps(const DeviceImage& image, int column, const ColumnTaps& taps) {
    const int shown = min(max(column, image.column_begin), image.column_end - 1);
    const resize::Taps found = resize::column_taps(shown - image.left, image.column_step, image.crop_width);
    const unsigned first = static_cast<unsigned>(found.first_weight);
    const unsigned second = static_cast<unsigned>(found.second_weight);
    taps.offsets[column % kTileColumns] = image.crop_start + found.first * image.pixel_bytes;
    taps.weights[column % kTileColumns] = found.first == found.second ? first + second : first | second << 16U;
}

template <typename Row>
__device__ __forceinline__ void resize_columns(const Row& row, const int (&offsets)[kLaneColumns],
                                               const unsigned (&weights)[kLaneColumns], const DeviceImage& image,
                                               Pixels* result) {
    const bool is_grey = image.is_grey != 0;
    RFK_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
        const unsigned first = row.pixel_at(offsets[i]);
        const int first_weight = static_cast<int>(weights[i] & 0xFFFFU);
        const int second_weight = static_cast<int>(weights[i] >> 16U);
        const unsigned second = second_weight == 0 ? 0U : row.pixel_at(offsets[i] + image.pixel_bytes);
        RFK_UNROLL
        for (int channel = 0; channel < kChannels; ++channel) {
            result->values[i][channel] = resize::horizontal(
                channel_of(first, channel, is_grey), channel_of(second, channel, is_grey), first_weight, second_weight);
        }
    }
}

/// What one canvas row of a tile is drawn with.
struct Tile {
    int lane;
    int begin;  // bytes of a source row that the tile's columns need
    int end;
    bool is_staged;  // they fit into `words`; of NV12 the luma into one half, the chroma into the other
    bool is_nv12;
    unsigned* words;
};

__device__ __forceinline__ const std::uint8_t* chroma_row(const DeviceImage& image, int source_row) {
    return image.chroma_0 + (source_row + image.odd_top) / 2 * image.chroma_pitch;
}

/// Calls `take` with a source row of the crop, staged where that fits.
template <typename Take>
__device__ __forceinline__ void with_source_row(const DeviceImage& image, const Tile& tile, int source_row,
                                                const Take& take) {
    const std::uint8_t* const row = image.row_0 + source_row * image.row_pitch;
    if (!tile.is_staged) {
        if (tile.is_nv12) return take(DirectNv12Row{row, chroma_row(image, source_row)});
        return take(DirectRow{row, image.row_bytes});
    }
    const StagedRow staged = stage(row, image.row_bytes, tile.begin, tile.end, tile.words, tile.lane);
    if (tile.is_nv12) {
        const StagedRow staged_chroma = stage(chroma_row(image, source_row), image.row_bytes, tile.begin & ~1, tile.end,
                                              tile.words + kSpanWords / 2, tile.lane);
        __syncwarp();  // all words are there before any lane takes its pixels
        take(StagedNv12Row{staged, staged_chroma});
    } else {
        __syncwarp();  // the same
        take(staged);
    }
    __syncwarp();  // all lanes have theirs before the next row overwrites the words
}

/// Bytes of four columns of one canvas row: OpenCV's INTER_LINEAR.
__device__ __forceinline__ void draw_bilinear(const DeviceImage& image, const Tile& tile, int row,
                                              const int (&offsets)[kLaneColumns],
                                              const unsigned (&weights)[kLaneColumns], Pixels* bytes) {
    const resize::Taps taps = resize::row_taps(row - image.top, image.row_step, image.crop_height);
    Pixels first;
    with_source_row(image, tile, taps.first,
                    [&](const auto& source) { resize_columns(source, offsets, weights, image, &first); });
    Pixels second = first;
    if (taps.second != taps.first) {
        with_source_row(image, tile, taps.second,
                        [&](const auto& source) { resize_columns(source, offsets, weights, image, &second); });
    }
    RFK_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
        RFK_UNROLL
        for (int channel = 0; channel < kChannels; ++channel) {
            bytes->values[i][channel] = resize::vertical(first.values[i][channel], second.values[i][channel],
                                                         taps.first_weight, taps.second_weight);
        }
    }
}

constexpr int kAntialiasedHalf = 1 << 21;  // of weights that add up to 2^22

__device__ __forceinline__ int antialiased_byte(int sum) {
    return min(max(sum, 0) >> 22, 255);
}

template <typename Row>
__device__ __forceinline__ void add_columns(const Row& row, const DeviceImage& image, const int* column_weights,
                                            int column_count, const int (&columns)[kLaneColumns],
                                            const int (&offsets)[kLaneColumns], const int (&counts)[kLaneColumns],
                                            int row_weight, Pixels* sums) {
    const bool is_grey = image.is_grey != 0;
    RFK_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
        int across[kChannels] = {kAntialiasedHalf, kAntialiasedHalf, kAntialiasedHalf};
        for (int tap = 0; tap < counts[i]; ++tap) {
            const unsigned pixel = row.pixel_at(offsets[i] + tap * image.pixel_bytes);
            const int weight = column_weights[tap * column_count + columns[i]];
            RFK_UNROLL
            for (int channel = 0; channel < kChannels; ++channel) {
                across[channel] += channel_of(pixel, channel, is_grey) * weight;
            }
        }
        RFK_UNROLL
        for (int channel = 0; channel < kChannels; ++channel) {
            sums->values[i][channel] += antialiased_byte(across[channel]) * row_weight;
        }
    }
}

/// Bytes of four columns of one canvas row: Pillow's BILINEAR. Every source row of the window is resized to bytes and
/// added up; neighbouring canvas rows do the same for the rows that they share.
__device__ __forceinline__ void draw_antialiased(const std::uint8_t* descriptors, const DeviceImage& image,
                                                 const Tile& tile, int row, const int (&columns)[kLaneColumns],
                                                 const int (&offsets)[kLaneColumns], const int (&counts)[kLaneColumns],
                                                 Pixels* bytes) {
    const int* const column_weights = reinterpret_cast<const int*>(descriptors + image.column_windows.weights);
    const int* const row_weights = reinterpret_cast<const int*>(descriptors + image.row_windows.weights);
    const int column_count = image.column_end - image.column_begin;
    const int row_count = image.row_end - image.row_begin;
    const int number = row - image.row_begin;
    const int first = reinterpret_cast<const int*>(descriptors + image.row_windows.firsts)[number];
    const int count = reinterpret_cast<const int*>(descriptors + image.row_windows.counts)[number];
    RFK_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
        RFK_UNROLL
        for (int channel = 0; channel < kChannels; ++channel) bytes->values[i][channel] = kAntialiasedHalf;
    }
    for (int tap = 0; tap < count; ++tap) {
        const int weight = row_weights[tap * row_count + number];
        with_source_row(image, tile, first + tap, [&](const auto& source) {
            add_columns(source, image, column_weights, column_count, columns, offsets, counts, weight, bytes);
        });
    }
    RFK_UNROLL
    for (int i = 0; i < kLaneColumns; ++i) {
        RFK_UNROLL
        for (int channel = 0; channel < kChannels; ++channel) {
            bytes->values[i][channel] = antialiased_byte(bytes->values[i][channel]);
        }
    }
}

// Elements of the canvas, and four of them as one store.
struct Byte {
    using Element = std::uint8_t;
    using Four = std::uint32_t;
    __device__ static Element from(float value) { return static_cast<Element>(value); }
};
struct Half {
    using Element = std::uint16_t;
    using Four = uint2;
    __device__ static Element from(float value) { return __half_as_ushort(__float2half_rn(value)); }
};
struct Bfloat16 {
    using Element = std::uint16_t;
    using Four = uint2;
    __device__ static Element from(float value) {
        // The upper half, rounded to nearest, ties to even. No NaN comes here.
        const unsigned bits = __float_as_uint(value);
        return static_cast<Element>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
    }
};
struct Single {
    using Element = float;
    using Four = float4;
    __device__ static Element from(float value) { return value; }
};

__device__ __forceinline__ std::uint32_t packed(const std::uint8_t (&four)[4]) {
    return four[0] | static_cast<unsigned>(four[1]) << 8U | static_cast<unsigned>(four[2]) << 16U |
           static_cast<unsigned>(four[3]) << 24U;
}
__device__ __forceinline__ uint2 packed(const std::uint16_t (&four)[4]) {
    return make_uint2(four[0] | static_cast<unsigned>(four[1]) << 16U, four[2] | static_cast<unsigned>(four[3]) << 16U);
}
__device__ __forceinline__ float4 packed(const float (&four)[4]) {
    return make_float4(four[0], four[1], four[2], four[3]);
}

__device__ __forceinline__ float normalized(int byte, const ChannelNormalization& constants, bool exact_division,
                                            bool divides) {
    const float value = static_cast<float>(byte);
    const float quotient =
        exact_division ? value / constants.first : value * constants.first + value * constants.second;
    const float result = quotient + constants.offset;
    return divides ? result / constants.divisor : result;
}

/// Four columns of a canvas row. `first_shown` to `last_shown` of them are the image's.
template <typename Kind>
__device__ __forceinline__ void store(const DevicePreprocessParams& params, const DeviceCanvas& canvas, int image,
                                      int row, int column, int first_shown, int last_shown, const Pixels& bytes) {
    using Element = typename Kind::Element;
    const bool keeps = params.keep_padding != 0;
    RFK_UNROLL
    for (int channel = 0; channel < kChannels; ++channel) {
        const ChannelNormalization constants = params.normalization[channel];
        const int source_channel = params.source_channel[channel];
        std::uint8_t* const address = static_cast<std::uint8_t*>(canvas.data) + image * canvas.image_stride +
                                      channel * canvas.plane_stride + row * canvas.row_stride +
                                      static_cast<std::int64_t>(column) * static_cast<int>(sizeof(Element));
        Element four[kLaneColumns];
        RFK_UNROLL
        for (int i = 0; i < kLaneColumns; ++i) {
            // The channel is chosen with constant indices: registers have no others.
            const int value = source_channel == 0   ? bytes.values[i][0]
                              : source_channel == 1 ? bytes.values[i][1]
                                                    : bytes.values[i][2];
            const bool is_shown = i >= first_shown && i < last_shown;
            four[i] = Kind::from(normalized(is_shown ? value : params.pad_value, constants, params.exact_division != 0,
                                            params.divides != 0));
        }
        const bool all =
            column + kLaneColumns <= canvas.width && (!keeps || (first_shown <= 0 && last_shown >= kLaneColumns));
        if (all && reinterpret_cast<std::uintptr_t>(address) % sizeof(typename Kind::Four) == 0) {
            store_vector(address, packed(four));
        } else {
            RFK_UNROLL
            for (int i = 0; i < kLaneColumns; ++i) {
                const bool is_shown = i >= first_shown && i < last_shown;
                if (column + i < canvas.width && (is_shown || !keeps)) {
                    reinterpret_cast<Element*>(address)[i] = four[i];
                }
            }
        }
    }
}

template <typename Kind, bool kAntialiased>
__global__ void __launch_bounds__(kWarps* kWarpLanes, kAntialiased ? kAntialiasedBlocks : kBilinearBlocks)
    preprocess(const std::uint8_t* descriptors, DeviceCanvas canvas) {
    RFK_SHARED(int, offsets, kTileColumns);
    RFK_SHARED(unsigned, weights, kTileColumns);
    RFK_SHARED(unsigned, words, kWarps* kSpanWords);
    const DevicePreprocessParams& params = *reinterpret_cast<const DevicePreprocessParams*>(descriptors);
    const int number = static_cast<int>(blockIdx.z);
    const DeviceImage& image =
        reinterpret_cast<const DeviceImage*>(descriptors + sizeof(DevicePreprocessParams))[number];
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpLanes;
    const int warp = thread / kWarpLanes;
    const int tile_column = static_cast<int>(blockIdx.x) * kTileColumns;
    const bool shows = image.column_begin < image.column_end;
    if (shows && thread < kTileColumns) {
        const int column = tile_column + thread;
        if (kAntialiased) {
            const int shown = min(max(column, image.column_begin), image.column_end - 1) - image.column_begin;
            const int first = reinterpret_cast<const int*>(descriptors + image.column_windows.firsts)[shown];
            offsets[thread] = image.crop_start + first * image.pixel_bytes;
            weights[thread] =
                static_cast<unsigned>(reinterpret_cast<const int*>(descriptors + image.column_windows.counts)[shown]);
        } else {
            find_column_taps(image, column, ColumnTaps{offsets, weights});
        }
    }
    __syncthreads();  // the taps are complete before any warp uses them

    const int row = static_cast<int>(blockIdx.y) * kWarps + warp;
    const int column = tile_column + lane * kLaneColumns;
    Pixels bytes = {};
    const bool has_tile = shows && tile_column < image.column_end && tile_column + kTileColumns > image.column_begin;
    const bool draws = has_tile && row >= image.row_begin && row < image.row_end;
    if (draws) {
        const int4 four_offsets = load_vector<int4>(offsets + lane * kLaneColumns);
        const uint4 four_weights = load_vector<uint4>(weights + lane * kLaneColumns);
        const int lane_offsets[kLaneColumns] = {four_offsets.x, four_offsets.y, four_offsets.z, four_offsets.w};
        const unsigned lane_weights[kLaneColumns] = {four_weights.x, four_weights.y, four_weights.z, four_weights.w};
        Tile tile;
        tile.lane = lane;
        tile.begin = lane_offsets[0];
        tile.end = 0;
        RFK_UNROLL
        for (int i = 0; i < kLaneColumns; ++i) {
            const int more =
                kAntialiased ? static_cast<int>(lane_weights[i]) - 1 : (lane_weights[i] >> 16U != 0 ? 1 : 0);
            tile.begin = min(tile.begin, lane_offsets[i]);
            tile.end = max(tile.end, lane_offsets[i] + more * image.pixel_bytes);
        }
        for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
            tile.begin = min(tile.begin, __shfl_xor_sync(0xFFFFFFFFU, tile.begin, distance));
            tile.end = max(tile.end, __shfl_xor_sync(0xFFFFFFFFU, tile.end, distance));
        }
        tile.end += 8;  // a pixel is taken from two words, the second of which may hold nothing of it
        tile.is_nv12 = image.chroma_0 != nullptr;
        // Chroma is staged from the even byte before `begin` on.
        const int span_bytes = tile.is_nv12 ? 2 * kSpanWords - 1 : 4 * kSpanWords;
        tile.is_staged = tile.end - tile.begin + 32 <= span_bytes;
        tile.words = words + warp * kSpanWords;
        if (kAntialiased) {
            int columns[kLaneColumns];
            int counts[kLaneColumns];
            RFK_UNROLL
            for (int i = 0; i < kLaneColumns; ++i) {
                columns[i] = min(max(column + i, image.column_begin), image.column_end - 1) - image.column_begin;
                counts[i] = static_cast<int>(lane_weights[i]);
            }
            draw_antialiased(descriptors, image, tile, row, columns, lane_offsets, counts, &bytes);
        } else {
            draw_bilinear(image, tile, row, lane_offsets, lane_weights, &bytes);
        }
    }
    if (row < canvas.height && column < canvas.width) {
        const int first_shown = draws ? image.column_begin - column : kLaneColumns;
        const int last_shown = draws ? image.column_end - column : 0;
        store<Kind>(params, canvas, number, row, column, first_shown, last_shown, bytes);
    }
}

template <typename Kind>
bool launch(const void* descriptors, const DeviceCanvas& canvas, bool is_antialiased, Stream stream) {
    const LaunchShape shape{
        {static_cast<unsigned>((canvas.width + kTileColumns - 1) / kTileColumns),
         static_cast<unsigned>((canvas.height + kWarps - 1) / kWarps), static_cast<unsigned>(canvas.image_count)},
        {kWarps * kWarpLanes},
        0};
    const std::uint8_t* bytes = static_cast<const std::uint8_t*>(descriptors);
    if (is_antialiased)
        return launch_kernel("preprocess_antialiased", preprocess<Kind, true>, shape, stream, bytes, canvas);
    return launch_kernel("preprocess_bilinear", preprocess<Kind, false>, shape, stream, bytes, canvas);
}

}  // namespace

bool launch_preprocess(const void* descriptors, const DeviceCanvas& canvas, DataType dtype, bool is_antialiased,
                       Stream stream) {
    switch (dtype) {
        case DataType::kUint8:
            return launch<Byte>(descriptors, canvas, is_antialiased, stream);
        case DataType::kFloat16:
            return launch<Half>(descriptors, canvas, is_antialiased, stream);
        case DataType::kBfloat16:
            return launch<Bfloat16>(descriptors, canvas, is_antialiased, stream);
        default:
            return launch<Single>(descriptors, canvas, is_antialiased, stream);
    }
}

}  // namespace rfkernels::RFK_DEVICE
