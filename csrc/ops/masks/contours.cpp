#include "contours.h"

#include <algorithm>
#include <array>

namespace rfkernels {
namespace {

/// Directions from a pixel to its neighbours, counter-clockwise on the screen from the right one.
constexpr int kRight = 0, kLeft = 4, kDirections = 8;
constexpr std::array<int, kDirections> kStepX = {1, 1, 0, -1, -1, -1, 0, 1};
constexpr std::array<int, kDirections> kStepY = {0, -1, -1, -1, 0, 1, 1, 1};

/// Bit d is the neighbour in direction d, of the three rows around a pixel as `BitMask::three` gives them, the upper
/// one in the lowest bits.
constexpr std::array<std::uint8_t, 512> neighbour_table() {
    std::array<std::uint8_t, 512> table{};
    constexpr int kBitOfDirection[kDirections] = {5, 2, 1, 0, 3, 6, 7, 8};
    for (unsigned rows = 0; rows < 512; ++rows) {
        unsigned neighbours = 0;
        for (int direction = 0; direction < kDirections; ++direction)
            neighbours |= (rows >> kBitOfDirection[direction] & 1U) << direction;
        table[rows] = static_cast<std::uint8_t>(neighbours);
    }
    return table;
}
constexpr std::array<std::uint8_t, 512> kNeighbours = neighbour_table();

struct Pixel {
    std::int64_t x, y;
};
bool operator==(const Pixel& a, const Pixel& b) {
    return a.x == b.x && a.y == b.y;
}

Pixel stepped(const Pixel& pixel, int direction) {
    const auto index = static_cast<std::size_t>(direction);
    return Pixel{pixel.x + kStepX[index], pixel.y + kStepY[index]};
}

unsigned neighbours_of(const BitMask& mask, const Pixel& pixel) {
    const unsigned rows =
        mask.three(pixel.x, pixel.y - 1) | mask.three(pixel.x, pixel.y) << 3U | mask.three(pixel.x, pixel.y + 1) << 6U;
    return kNeighbours[rows];
}

/// The first neighbour inside, counter-clockwise from the one after `direction`. There is one.
int next_direction(unsigned neighbours, int direction) {
    const unsigned first = static_cast<unsigned>(direction + 1) % kDirections;
    const unsigned turned = (neighbours | neighbours << kDirections) >> first;
    return static_cast<int>((first + static_cast<unsigned>(__builtin_ctz(turned))) % kDirections);
}

/// The first neighbour inside, clockwise from the one before `direction`. There is one.
int previous_direction(unsigned neighbours, int direction) {
    for (int turn = 1;; ++turn) {
        const int candidate = (direction - turn + kDirections) % kDirections;
        if ((neighbours >> candidate & 1U) != 0) return candidate;
    }
}

/// Follows one outline from its topmost, leftmost pixel and back, and appends the points where it turns.
void trace(const BitMask& mask, const Pixel& start, TracedPixels* traced, std::vector<std::int32_t>* points) {
    const auto append = [&](const Pixel& pixel) {
        points->push_back(static_cast<std::int32_t>(mask.left() + pixel.x));
        points->push_back(static_cast<std::int32_t>(mask.top() + pixel.y));
    };
    const unsigned around_start = neighbours_of(mask, start);
    traced->passed.set(start.x, start.y);
    if (around_start == 0) {
        traced->left_to_the_right.set(start.x, start.y);
        append(start);
        return;
    }
    int back = previous_direction(around_start, kLeft);  // where the outline will come back from
    const Pixel before_start = stepped(start, back);
    int last_step = (back + kDirections / 2) % kDirections;
    Pixel pixel = start;
    while (true) {
        const int step = next_direction(neighbours_of(mask, pixel), back);
        traced->passed.set(pixel.x, pixel.y);
        // The search has passed the right neighbour, and found it outside.
        if (step != kRight && step <= back) traced->left_to_the_right.set(pixel.x, pixel.y);
        if (step != last_step) append(pixel);
        last_step = step;
        const Pixel next = stepped(pixel, step);
        if (next == start && pixel == before_start) return;
        pixel = next;
        back = (step + kDirections / 2) % kDirections;
    }
}

/// Whether a pixel lies within an outline that has been traced: the last pixel passed to the left of it in its row, if
/// there is one, has not been left to the right.
bool is_enclosed(const TracedPixels& traced, const Pixel& pixel) {
    const std::uint64_t* passed = traced.passed.row(pixel.y);
    std::int64_t word = pixel.x / BitMask::kBits;
    std::uint64_t bits = passed[word] & ((std::uint64_t{1} << (pixel.x % BitMask::kBits)) - 1U);
    while (bits == 0 && word > 0) bits = passed[--word];
    if (bits == 0) return false;
    const int bit = 63 - __builtin_clzll(bits);
    return (traced.left_to_the_right.row(pixel.y)[word] >> bit & 1U) == 0;
}

/// Calls visit(pixel) for every pixel that an outermost outline begins at, from the top, each row from the left.
template <typename Visit>
void for_each_start(const BitMask& mask, const TracedPixels& traced, Visit visit) {
    for (std::int64_t y = 0; y < mask.height(); ++y) {
        const std::uint64_t* row = mask.row(y);
        const std::uint64_t* passed = traced.passed.row(y);
        for (std::int64_t word = 0; word < mask.pixel_words(); ++word) {
            // Inside, with an outside pixel to the left.
            std::uint64_t starts = row[word] & ~(row[word] << 1U | row[word - 1] >> 63U);
            for (; starts != 0; starts &= starts - 1) {
                if ((starts & -starts & passed[word]) != 0) continue;  // passed meanwhile
                const Pixel pixel{word * BitMask::kBits + __builtin_ctzll(starts), y};
                if (!is_enclosed(traced, pixel)) visit(pixel);
            }
        }
    }
}

}  // namespace

void append_contours(const BitMask& mask, ContourChoice choice, TracedPixels* traced, Polygons* polygons) {
    traced->passed.reset(0, 0, mask.width(), mask.height());
    traced->left_to_the_right.reset(0, 0, mask.width(), mask.height());
    std::vector<std::int32_t>& points = polygons->points;
    const std::size_t first = points.size();
    if (choice == ContourChoice::kMostPoints) {
        // Only the best so far is kept. cv2.findContours lists the contour found last first, so that of contours with
        // equally many points the one found last is "the first".
        std::size_t best = 0;
        for_each_start(mask, *traced, [&](const Pixel& start) {
            const std::size_t begin = points.size();
            trace(mask, start, traced, &points);
            const std::size_t length = points.size() - begin;
            if (length >= best) {
                std::copy(points.begin() + static_cast<std::ptrdiff_t>(begin), points.end(),
                          points.begin() + static_cast<std::ptrdiff_t>(first));
                best = length;
            }
            points.resize(first + best);
        });
        if (best > 0) polygons->first_points.push_back(static_cast<std::int64_t>(points.size() / 2));
    } else {
        std::vector<std::int32_t> found;
        std::vector<std::size_t> begins;
        for_each_start(mask, *traced, [&](const Pixel& start) {
            begins.push_back(found.size());
            trace(mask, start, traced, &found);
        });
        std::size_t end = found.size();
        for (auto begin = begins.rbegin(); begin != begins.rend(); ++begin) {
            points.insert(points.end(), found.begin() + static_cast<std::ptrdiff_t>(*begin),
                          found.begin() + static_cast<std::ptrdiff_t>(end));
            polygons->first_points.push_back(static_cast<std::int64_t>(points.size() / 2));
            end = *begin;
        }
    }
    polygons->first_contours.push_back(static_cast<std::int64_t>(polygons->first_points.size()) - 1);
}

}  // namespace rfkernels
