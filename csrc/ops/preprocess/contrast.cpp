#include "ops/preprocess/contrast.h"

#include <algorithm>
#include <cmath>

#include "device/guarded.h"
#include "ops/preprocess/checks.h"
#include "rfkernels/preprocess.h"

// Stretching and histogram equalisation give each byte another one, the same wherever it stands: a table of 256.

namespace rfkernels {
namespace {

using ByteTable = std::array<std::uint8_t, 256>;

constexpr int kBins = 256;

ByteHistogram histogram_of(const ImageView& image) {
    ByteHistogram histogram{};
    const int planes = image.channels == 1 ? 1 : 3;
    for (std::int64_t y = 0; y < image.height; ++y) {
        const std::uint8_t* pixel = image.data + y * image.row_pitch;
        for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels) {
            for (int plane = 0; plane < planes; ++plane) ++histogram[pixel[plane]];
        }
    }
    if (planes == 1) {
        for (std::int64_t& count : histogram) count *= 3;
    }
    return histogram;
}

/// The byte at `index` of all bytes in ascending order.
int sorted_byte(const ByteHistogram& histogram, std::int64_t index) {
    int byte = 0;
    for (std::int64_t below = histogram[0]; below <= index; below += histogram[static_cast<std::size_t>(++byte)]) {
    }
    return byte;
}

/// numpy.percentile with linear interpolation.
double percentile(const ByteHistogram& histogram, std::int64_t total, double share) {
    const double position = static_cast<double>(total - 1) * share;
    const std::int64_t index = static_cast<std::int64_t>(position);
    const double fraction = position - static_cast<double>(index);
    const double low = sorted_byte(histogram, index);
    const double high = sorted_byte(histogram, std::min(index + 1, total - 1));
    // NumPy interpolates from the nearer end.
    return fraction < 0.5 ? low + (high - low) * fraction : high - (high - low) * (1.0 - fraction);
}

ByteTable stretching_table(const ByteHistogram& histogram, std::int64_t total) {
    const double low = percentile(histogram, total, 0.02);
    const double high = percentile(histogram, total, 0.98);
    ByteTable table{};
    for (int byte = 0; byte < 256; ++byte) {
        const double clipped = std::min(std::max(static_cast<double>(byte), low), high);
        const double value = low == high ? clipped : (clipped - low) / (high - low) * 255.0;
        table[static_cast<std::size_t>(byte)] = static_cast<std::uint8_t>(value);
    }
    return table;
}

/// numpy.interp at one point.
double interpolate(double x, const std::array<float, kBins>& points, const std::array<float, kBins>& values) {
    if (x < points.front()) return values.front();
    if (x >= points.back()) return values.back();
    const std::size_t left =
        static_cast<std::size_t>(std::upper_bound(points.begin(), points.end(), x) - points.begin()) - 1;
    const double point = points[left];
    const double value = values[left];
    if (point == x) return value;
    const double slope =
        (static_cast<double>(values[left + 1]) - value) / (static_cast<double>(points[left + 1]) - point);
    return slope * (x - point) + value;
}

/// float32 arithmetic throughout, as numpy.histogram and numpy.linspace do it for a float32 image.
ByteTable equalization_table(const ByteHistogram& histogram, std::int64_t total) {
    const auto scaled = [](int byte) { return static_cast<float>(byte) / 255.0F; };
    float first = scaled(sorted_byte(histogram, 0));
    float last = scaled(sorted_byte(histogram, total - 1));
    if (first == last) {
        first -= 0.5F;
        last += 0.5F;
    }
    const float step = (last - first) / kBins;
    std::array<float, kBins + 1> edges;
    for (int edge = 0; edge < kBins; ++edge) edges[static_cast<std::size_t>(edge)] = edge * step + first;
    edges[kBins] = last;

    std::array<std::int64_t, kBins> counts{};
    for (int byte = 0; byte < 256; ++byte) {
        if (histogram[static_cast<std::size_t>(byte)] == 0) continue;
        const auto after = std::upper_bound(edges.begin(), edges.end(), scaled(byte));
        const std::ptrdiff_t bin = std::min<std::ptrdiff_t>(after - edges.begin() - 1, kBins - 1);
        counts[static_cast<std::size_t>(bin)] += histogram[static_cast<std::size_t>(byte)];
    }
    std::array<float, kBins> centers;
    std::array<float, kBins> cumulated;
    std::int64_t sum = 0;
    for (std::size_t bin = 0; bin < kBins; ++bin) {
        sum += counts[bin];
        centers[bin] = (edges[bin] + edges[bin + 1]) / 2.0F;
        cumulated[bin] = static_cast<float>(static_cast<double>(sum) / static_cast<double>(total));
    }
    ByteTable table{};
    for (int byte = 0; byte < 256; ++byte) {
        const float value = static_cast<float>(interpolate(scaled(byte), centers, cumulated));
        table[static_cast<std::size_t>(byte)] = static_cast<std::uint8_t>(value * 255.0F);
    }
    return table;
}

void apply(const ByteTable& table, const ImageView& image, std::uint8_t* target) {
    for (std::int64_t y = 0; y < image.height; ++y) {
        const std::uint8_t* pixel = image.data + y * image.row_pitch;
        for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels, target += 3) {
            for (int channel = 0; channel < 3; ++channel) {
                target[channel] = table[pixel[image.channels == 1 ? 0 : channel]];
            }
        }
    }
}

}  // namespace

Status contrast(const ImageView& image, Contrast kind, const TensorView& destination) {
    return guarded("contrast: not enough memory for two bytes a pixel", [&]() -> Status {
        Status status = check_packed_image(image, "image");
        if (status.ok()) status = check_image_destination(destination, image);
        if (!status.ok()) return status;
        std::uint8_t* target = static_cast<std::uint8_t*>(destination.data);
        if (kind == Contrast::kAdaptiveEqualization) {
            equalize_adaptively(image, target);
            return Status();
        }
        const ByteHistogram histogram = histogram_of(image);
        const std::int64_t total = image.height * image.width * 3;
        apply(kind == Contrast::kStretching ? stretching_table(histogram, total) : equalization_table(histogram, total),
              image, target);
        return Status();
    });
}

}  // namespace rfkernels
