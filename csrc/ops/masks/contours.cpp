#include "contours.h"

#include <algorithm>
#include <array>

namespace rfkernels {
namespace {

/// Directions from a pixel to its neighbours, counter-clockwise on the screen from the right one.
constexpr int kRight = 0, kLeft = 4, kDirections = 8;
constexpr std::array<int, kDirections> kStepX = {1, 1, 0, -1, -1, -1, 0, 1};
constexpr std::array<int, kDirections> kStepY = {0, -1, -1, -1, 0, 1, 1, 1};

/// Pixels around one, in the three rows around it as `BitMask::three` gives them: the upper row in the lowest bits.
constexpr unsigned kAround = 512;
/// Which of these bits is the neighbour in each direction.
constexpr std::array<int, kDirections> kBitOfDirection = {5, 2, 1, 0, 3, 6, 7, 8};

/// For each direction that an outline comes from: the first neighbour inside, counter-clockwise from the one after it;
/// that direction again where there is none.
constexpr std::array<std::array<std::uint8_t, kAround>, kDirections> step_table() {
    std::array<std::array<std::uint8_t, kAround>, kDirections> table{};
    for (int back = 0; back < kDirections; ++back) {
        for (unsigned around = 0; around < kAround; ++around) {
            int step = back;
            for (int turn = kDirections - 1; turn > 0; --turn) {
                const int candidate = (back + turn) % kDirections;
                if ((around >> kBitOfDirection[static_cast<std::size_t>(candidate)] & 1U) != 0) step = candidate;
            }
            table[static_cast<std::size_t>(back)][around] = static_cast<std::uint8_t>(step);
        }
    }
    return table;
}
constexpr std::array<std::array<std::uint8_t, kAround>, kDirections> kNextStep = step_table();

struct Pixel {
    std::int64_t x, y;
};

/// The first neighbour inside, clockwise from the one before `direction`. There is one.
int previous_direction(unsigned around, int direction) {
    for (int turn = 1;; ++turn) {
        const int candidate = (direction - turn + kDirections) % kDirections;
        if ((around >> kBitOfDirection[static_cast<std::size_t>(candidate)] & 1U) != 0) return candidate;
    }
}

/// By how much the points' memory is extended while an outline is followed.
constexpr std::size_t kRoom = 1024;

/// Follows one outline from its topmost, leftmost pixel and back, and appends the points where it turns.
void trace(const BitMask& mask, const Pixel& start, TracedPixels* traced, std::vector<std::int32_t>* points) {
    const std::int64_t row = mask.row_bits();
    const auto around = [&](std::int64_t place) {
        return mask.three(place - row) | mask.three(place) << 3U | mask.three(place + row) << 6U;
    };
    auto x = static_cast<std::int32_t>(mask.left() + start.x);
    auto y = static_cast<std::int32_t>(mask.top() + start.y);
    const std::int64_t start_place = mask.place(start.x, start.y);
    const unsigned around_start = around(start_place);
    constexpr unsigned kItself = 1U << 4U;
    if (around_start == kItself) {
        traced->passed.set(start_place, 1U);
        traced->left_to_the_right.set(start_place, 1U);
        points->insert(points->end(), {x, y});
        return;
    }
    // From a pixel to its neighbours.
    std::array<std::int64_t, kDirections> step_places{};
    for (std::size_t direction = 0; direction < kDirections; ++direction)
        step_places[direction] = kStepX[direction] + kStepY[direction] * row;

    auto back = static_cast<std::size_t>(previous_direction(around_start, kLeft));  // where the outline will come from
    const std::int64_t before_start = start_place + step_places[back];
    std::size_t last_step = (back + kDirections / 2) % kDirections;
    std::int64_t place = start_place;
    std::size_t used = points->size();
    while (true) {
        const std::size_t step = kNextStep[back][around(place)];
        traced->passed.set(place, 1U);
        // The search has passed the right neighbour, and found it outside.
        const bool passed_right = (step != kRight) & (step <= back);
        traced->left_to_the_right.set(place, passed_right ? 1U : 0U);
        // Written at every pixel and kept at turns: a branch on what nobody can foresee takes longer.
        if (used + 2 > points->size()) points->resize(used + kRoom);
        (*points)[used] = x;
        (*points)[used + 1] = y;
        used += step != last_step ? 2U : 0U;
        last_step = step;
        const std::int64_t next = place + step_places[step];
        if (next == start_place && place == before_start) break;
        place = next;
        x += kStepX[step];
        y += kStepY[step];
        back = (step + kDirections / 2) % kDirections;
    }
    points->resize(used);
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
