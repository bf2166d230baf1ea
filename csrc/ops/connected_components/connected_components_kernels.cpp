#include "connected_components_kernels.h"

#include <cstring>

#include "device/lanes.h"
#include "rfkernels/connected_components.h"

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

constexpr std::int64_t kWordBits = 64;

/// Bit i of the result is set where byte i of 64 is not 0.
inline std::uint64_t nonzero_word(const std::uint8_t* bytes) {
    std::uint64_t zeros = 0;
#if defined(__AVX2__)
    for (int half = 0; half < 2; ++half) {
        const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * half));
        const __m256i equal = _mm256_cmpeq_epi8(values, _mm256_setzero_si256());
        zeros |= std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(equal))} << (32 * half);
    }
#elif defined(__SSE2__)
    for (int quarter = 0; quarter < 4; ++quarter) {
        const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * quarter));
        const __m128i equal = _mm_cmpeq_epi8(values, _mm_setzero_si128());
        zeros |= std::uint64_t{static_cast<std::uint32_t>(_mm_movemask_epi8(equal))} << (16 * quarter);
    }
#else
    for (int i = 0; i < kWordBits; ++i) zeros |= std::uint64_t{bytes[i] == 0 ? 1U : 0U} << i;
#endif
    return ~zeros;
}

template <ThresholdSide side>
inline std::uint64_t threshold_word(const float* logits, Floats threshold) {
    std::uint64_t word = 0;
    for (int lane = 0; lane < kWordBits; lane += kLanes) {
        const Floats values = load(logits + lane);
        const std::uint32_t bits =
            side == ThresholdSide::kForeground ? lanes_greater(values, threshold) : lanes_at_most(values, threshold);
        word |= std::uint64_t{bits} << lane;
    }
    return word;
}

template <ThresholdSide side>
void threshold_words_of(const float* logits, std::int64_t count, float threshold, std::uint64_t* words) {
    const Floats limit = broadcast(threshold);
    std::int64_t i = 0;
    for (; i + kWordBits <= count; i += kWordBits) *words++ = threshold_word<side>(logits + i, limit);
    if (i == count) return;
    float rest[kWordBits];
    for (std::int64_t place = 0; place < kWordBits; ++place)
        rest[place] = i + place < count ? logits[i + place] : __builtin_nanf("");  // on neither side
    *words = threshold_word<side>(rest, limit);
}

inline void store(std::int32_t* to, std::int32_t number) {
    *to = number;
}

/// Pixels [begin, end) of both. Whole vectors, where Value is one: what they write beyond the end is written after it.
template <typename Value>
inline void fill(std::int64_t begin, std::int64_t end, Value label, Value area, std::int32_t* labels,
                 std::int32_t* areas) {
    constexpr std::int64_t kStep = sizeof(Value) / sizeof(std::int32_t);
    for (; begin < end; begin += kStep) {
        store(labels + begin, label);
        store(areas + begin, area);
    }
}

template <typename Value>
void write_runs(const RowRuns& runs, std::int64_t width, std::int32_t* labels, std::int32_t* areas) {
    // Read at run time: known to be 0, it would be filled in by calls of memset, which gaps of a few pixels do not
    // repay.
    const volatile std::int32_t background = kNoComponent;
    const Value none = Value{} + background;
    std::int64_t place = 0;
    for (std::int64_t run = 0; run < runs.count; ++run) {
        const std::int64_t begin = runs.edges[2 * run], end = runs.edges[2 * run + 1];
        const std::int32_t* component = runs.components + 2 * std::int64_t{runs.roots[run]};
        fill(place, begin, none, none, labels, areas);
        fill(begin, end, none + component[0], none + component[1], labels, areas);
        place = end;
    }
    fill(place, width, none, none, labels, areas);
}

}  // namespace

void nonzero_words(const std::uint8_t* bytes, std::int64_t count, std::uint64_t* words) {
    std::int64_t i = 0;
    for (; i + kWordBits <= count; i += kWordBits) *words++ = nonzero_word(bytes + i);
    if (i == count) return;
    std::uint8_t rest[kWordBits] = {};
    std::memcpy(rest, bytes + i, static_cast<std::size_t>(count - i));
    *words = nonzero_word(rest);
}

void threshold_words(const float* logits, std::int64_t count, float threshold, ThresholdSide side,
                     std::uint64_t* words) {
    if (side == ThresholdSide::kForeground) {
        threshold_words_of<ThresholdSide::kForeground>(logits, count, threshold, words);
    } else {
        threshold_words_of<ThresholdSide::kBackground>(logits, count, threshold, words);
    }
}

void write_row(const RowRuns& runs, std::int64_t width, std::int64_t room, std::int32_t* labels, std::int32_t* areas) {
    // A vector begins before the end of what it fills, so it reaches less than kLanes beyond the row. The last rows of
    // a mask have no memory for that behind them.
    if (room - width >= kLanes) {
        write_runs<Ints>(runs, width, labels, areas);
    } else {
        write_runs<std::int32_t>(runs, width, labels, areas);
    }
}

}  // namespace RFK_VARIANT
}  // namespace rfkernels
