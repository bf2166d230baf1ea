#include <algorithm>
#include <array>
#include <cmath>
#include <new>
#include <vector>

#include "ops/preprocess/contrast.h"

// Contrast limited adaptive histogram equalisation of the HSV value, with scikit-image's choices: 14 bits of grey, 256
// bins, regions of an eighth of each side. Every operation is rounded where NumPy rounds it, so that the bytes are
// equal.

namespace rfkernels {
namespace {

constexpr int kGreyLevels = 1 << 14;
constexpr int kBins = 256;
constexpr int kBinSize = 1 + kGreyLevels / kBins;
constexpr double kClipLimit = 0.03;

using Histogram = std::array<std::int64_t, kBins>;
using GreyMap = std::array<std::int32_t, kBins>;

struct Hsv {
    float hue;
    float saturation;
    float value;
};

std::array<std::uint8_t, 3> channels_of(const ImageView& image, const std::uint8_t* pixel) {
    if (image.channels == 1) return {pixel[0], pixel[0], pixel[0]};
    return {pixel[0], pixel[1], pixel[2]};
}

int value_of(const ImageView& image, std::int64_t y, std::int64_t x) {
    const auto channels = channels_of(image, image.data + y * image.row_pitch + x * image.channels);
    return std::max({channels[0], channels[1], channels[2]});
}

Hsv to_hsv(const std::array<std::uint8_t, 3>& channels) {
    const float red = static_cast<float>(channels[0]) / 255.0F;
    const float green = static_cast<float>(channels[1]) / 255.0F;
    const float blue = static_cast<float>(channels[2]) / 255.0F;
    const float value = std::max({red, green, blue});
    const float range = value - std::min({red, green, blue});
    if (range == 0.0F) return Hsv{0.0F, 0.0F, value};
    float sixths = 0.0F;
    if (blue == value) {
        sixths = 4.0F + (red - green) / range;
    } else if (green == value) {
        sixths = 2.0F + (blue - red) / range;
    } else {
        sixths = (green - blue) / range;
    }
    float hue = std::fmod(sixths / 6.0F, 1.0F);
    if (hue < 0.0F) hue += 1.0F;
    return Hsv{hue, range / value, value};
}

std::array<float, 3> to_rgb(const Hsv& hsv) {
    const float sixth = std::floor(hsv.hue * 6.0F);
    const float fraction = hsv.hue * 6.0F - sixth;
    const float value = hsv.value;
    const float lowest = value * (1.0F - hsv.saturation);
    const float falling = value * (1.0F - fraction * hsv.saturation);
    const float rising = value * (1.0F - (1.0F - fraction) * hsv.saturation);
    switch (static_cast<int>(sixth) % 6) {
        case 0:
            return {value, rising, lowest};
        case 1:
            return {falling, value, lowest};
        case 2:
            return {lowest, value, rising};
        case 3:
            return {lowest, falling, value};
        case 4:
            return {rising, lowest, value};
        default:
            return {value, lowest, falling};
    }
}

/// One axis of the grid of regions. The image is mirrored outwards: half a region before it, and up to the end of the
/// region that the last pixel ends in plus half a region behind it.
struct Axis {
    std::int64_t size;     // of the image
    std::int64_t region;   // pixels in a region
    std::int64_t regions;  // that a map is made for
    std::int64_t lead() const { return region / 2; }

    explicit Axis(std::int64_t side)
        : size(side), region(std::max<std::int64_t>(side / 8, 1)), regions((side + region - 1) / region) {}

    std::int64_t mirrored(std::int64_t index) const {
        if (index < size) return index;
        return size == 1 ? 0 : 2 * (size - 1) - index;
    }
};

/// The bin of each byte of the value channel: the darkest to the brightest stretched over the grey levels.
std::array<std::uint8_t, 256> bins_of_values(int darkest, int brightest) {
    std::array<std::uint8_t, 256> bins{};
    const double low = darkest * 257.0;  // a byte as 16 bits
    const double high = brightest * 257.0;
    for (int value = darkest; value <= brightest; ++value) {
        const double wide = value * 257.0;
        const double grey =
            low == high ? std::min(wide, kGreyLevels - 1.0) : (wide - low) / (high - low) * (kGreyLevels - 1.0);
        bins[static_cast<std::size_t>(value)] =
            static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(grey)) / kBinSize);
    }
    return bins;
}

/// Cuts what is above `limit` and hands it out to the other bins.
void clip(Histogram& histogram, std::int64_t limit) {
    std::int64_t excess = 0;
    for (std::int64_t& count : histogram) {
        excess += std::max<std::int64_t>(0, count - limit);
        count = std::min(count, limit);
    }
    const std::int64_t share = excess / kBins;
    const std::int64_t upper = limit - share;
    for (std::int64_t& count : histogram) {
        if (count < upper) {
            count += share;
            excess -= share;
            // A bin that its share has lifted within another share of the limit is filled up to it.
            if (count >= upper && count < limit) {
                excess += count - limit;
                count = limit;
            }
        } else if (count < limit) {
            excess += count - limit;
            count = limit;
        }
    }
    while (excess > 0) {
        const std::int64_t before = excess;
        for (std::size_t start = 0; start < kBins && excess > 0; ++start) {
            const std::int64_t open = std::count_if(histogram.begin(), histogram.end(),
                                                    [limit](std::int64_t count) { return count < limit; });
            const std::size_t step = static_cast<std::size_t>(std::max<std::int64_t>(1, open / excess));
            for (std::size_t bin = start; bin < kBins; bin += step) {
                if (histogram[bin] >= limit) continue;
                ++histogram[bin];
                --excess;
            }
        }
        if (excess == before) break;
    }
}

GreyMap map_of(const Histogram& histogram, std::int64_t pixels) {
    const double factor = static_cast<double>(kGreyLevels - 1) / static_cast<double>(pixels);
    GreyMap map{};
    std::int64_t sum = 0;
    for (std::size_t bin = 0; bin < kBins; ++bin) {
        sum += histogram[bin];
        const double grey = static_cast<double>(sum) * factor;
        map[bin] = static_cast<std::int32_t>(std::min(grey, static_cast<double>(kGreyLevels - 1)));
    }
    return map;
}

std::vector<GreyMap> maps_of_regions(const ImageView& image, const std::array<std::uint8_t, 256>& bins,
                                     const Axis& rows, const Axis& columns) {
    const std::int64_t pixels = rows.region * columns.region;
    const std::int64_t limit = static_cast<std::int64_t>(std::max(1.0, kClipLimit * static_cast<double>(pixels)));
    std::vector<GreyMap> maps;
    maps.reserve(static_cast<std::size_t>(rows.regions * columns.regions));
    for (std::int64_t row = 0; row < rows.regions; ++row) {
        for (std::int64_t column = 0; column < columns.regions; ++column) {
            Histogram histogram{};
            for (std::int64_t y = row * rows.region; y < (row + 1) * rows.region; ++y) {
                for (std::int64_t x = column * columns.region; x < (column + 1) * columns.region; ++x) {
                    ++histogram[bins[static_cast<std::size_t>(value_of(image, rows.mirrored(y), columns.mirrored(x)))]];
                }
            }
            clip(histogram, limit);
            maps.push_back(map_of(histogram, pixels));
        }
    }
    return maps;
}

/// The two regions whose centres a pixel lies between, and how far it is on the way to the second.
struct Between {
    std::int64_t first;
    std::int64_t second;
    double fraction;
};

Between between(const Axis& axis, std::int64_t index) {
    const std::int64_t shifted = index + axis.lead();
    const std::int64_t block = shifted / axis.region;
    const std::int64_t last = axis.regions - 1;
    return Between{std::clamp<std::int64_t>(block - 1, 0, last), std::min(block, last),
                   static_cast<double>(shifted % axis.region) / static_cast<double>(axis.region)};
}

/// The equalised value of every pixel, as grey levels.
std::vector<std::uint16_t> equalized_values(const ImageView& image, const std::array<std::uint8_t, 256>& bins) {
    const Axis rows(image.height);
    const Axis columns(image.width);
    const std::vector<GreyMap> maps = maps_of_regions(image, bins, rows, columns);
    std::vector<std::uint16_t> result(static_cast<std::size_t>(image.height * image.width));
    std::size_t index = 0;
    for (std::int64_t y = 0; y < image.height; ++y) {
        const Between vertical = between(rows, y);
        for (std::int64_t x = 0; x < image.width; ++x) {
            const Between horizontal = between(columns, x);
            const std::size_t bin = bins[static_cast<std::size_t>(value_of(image, y, x))];
            const auto part = [&](std::int64_t row, std::int64_t column, double x_weight, double y_weight) {
                const GreyMap& map = maps[static_cast<std::size_t>(row * columns.regions + column)];
                return static_cast<float>(map[bin] * (x_weight * y_weight));
            };
            float sum = part(vertical.first, horizontal.first, 1.0 - horizontal.fraction, 1.0 - vertical.fraction);
            sum += part(vertical.first, horizontal.second, horizontal.fraction, 1.0 - vertical.fraction);
            sum += part(vertical.second, horizontal.first, 1.0 - horizontal.fraction, vertical.fraction);
            sum += part(vertical.second, horizontal.second, horizontal.fraction, vertical.fraction);
            result[index++] = static_cast<std::uint16_t>(sum);
        }
    }
    return result;
}

}  // namespace

void equalize_adaptively(const ImageView& image, std::uint8_t* target) {
    int darkest = 255;
    int brightest = 0;
    for (std::int64_t y = 0; y < image.height; ++y) {
        for (std::int64_t x = 0; x < image.width; ++x) {
            const int value = value_of(image, y, x);
            darkest = std::min(darkest, value);
            brightest = std::max(brightest, value);
        }
    }
    const std::vector<std::uint16_t> values = equalized_values(image, bins_of_values(darkest, brightest));
    const auto extremes = std::minmax_element(values.begin(), values.end());
    const float lowest = *extremes.first;
    const float range = static_cast<float>(*extremes.second) - lowest;
    std::size_t index = 0;
    for (std::int64_t y = 0; y < image.height; ++y) {
        const std::uint8_t* pixel = image.data + y * image.row_pitch;
        for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels, target += 3) {
            Hsv hsv = to_hsv(channels_of(image, pixel));
            const float level = values[index++];
            hsv.value = range == 0.0F ? std::min(level, 1.0F) : (level - lowest) / range;
            const std::array<float, 3> rgb = to_rgb(hsv);
            for (std::size_t channel = 0; channel < 3; ++channel) {
                target[channel] = static_cast<std::uint8_t>(rgb[channel] * 255.0F);
            }
        }
    }
}

}  // namespace rfkernels
