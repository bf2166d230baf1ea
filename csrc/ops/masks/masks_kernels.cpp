#include "masks_kernels.h"

#include "device/arithmetic.h"
#include "device/lanes.h"

namespace rfkernels {
namespace RFK_VARIANT {
namespace {

/// The partial sums of one pixel: channel c goes to sum c % 8 on every instruction set.
constexpr int kSums = 8;
constexpr int kWordBits = 64;
typedef float Sums __attribute__((vector_size(4 * kSums)));
typedef float Quarters __attribute__((vector_size(2 * kSums)));
typedef std::uint16_t HalfSums __attribute__((vector_size(2 * kSums)));
typedef std::uint32_t SumBits __attribute__((vector_size(4 * kSums)));

inline Sums load_sums(const float* from) {
    Sums sums;
    std::memcpy(&sums, from, sizeof(sums));
    return sums;
}
inline Sums load_sums(const Bfloat16* from) {
    HalfSums halves;
    std::memcpy(&halves, from, sizeof(halves));
    return bits_as<Sums>(__builtin_convertvector(halves, SumBits) << 16);
}

/// In the same order, by halves: vectors stay in registers.
inline float total_of(const Sums& sums) {
    Quarters halves[2];
    std::memcpy(halves, &sums, sizeof(halves));
    const Quarters pairs = halves[0] + halves[1];
    return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
}

template <typename Value>
inline Value total_of(const Value* sums) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

template <typename Element>
inline float mix_one(const Element* value, std::int64_t channel_step, const float* coefficients,
                     std::int64_t channels) {
    float sums[kSums] = {};
    for (std::int64_t channel = 0; channel < channels; ++channel)
        sums[channel % kSums] += coefficients[channel] * static_cast<float>(value[channel * channel_step]);
    return total_of(sums);
}

/// Pixels contiguous: a vector of them at a time.
template <typename Element>
void mix_planes(const Element* value, std::int64_t channel_step, const float* coefficients, std::int64_t channels,
                std::int64_t count, float* out) {
    std::int64_t pixel = 0;
    for (; pixel + kLanes <= count; pixel += kLanes) {
        Floats sums[kSums] = {};
        for (std::int64_t channel = 0; channel < channels; ++channel) {
            const Floats lanes = load(value + channel * channel_step + pixel);
            sums[channel % kSums] += broadcast(coefficients[channel]) * lanes;
        }
        store(out + pixel, total_of(sums));
    }
    for (; pixel < count; ++pixel) out[pixel] = mix_one(value + pixel, channel_step, coefficients, channels);
}

/// Channels contiguous: a pixel's partial sums are one vector.
template <typename Element>
void mix_pixels(const Element* value, std::int64_t pixel_step, const float* coefficients, std::int64_t channels,
                std::int64_t count, float* out) {
    for (std::int64_t pixel = 0; pixel < count; ++pixel, value += pixel_step) {
        Sums sums{};
        std::int64_t channel = 0;
        for (; channel + kSums <= channels; channel += kSums)
            sums += load_sums(coefficients + channel) * load_sums(value + channel);
        for (int sum = 0; channel < channels; ++channel, ++sum)
            sums[sum] += coefficients[channel] * static_cast<float>(value[channel]);
        out[pixel] = total_of(sums);
    }
}

template <typename Element>
void mix(const PrototypeValues& prototypes, const float* coefficients, std::int64_t first_pixel, std::int64_t count,
         float* out) {
    const Element* value = static_cast<const Element*>(prototypes.data) + first_pixel * prototypes.pixel_step;
    if (prototypes.channel_step == 1) {
        mix_pixels(value, prototypes.pixel_step, coefficients, prototypes.channels, count, out);
    } else {
        mix_planes(value, prototypes.channel_step, coefficients, prototypes.channels, count, out);
    }
}

/// The vector of pixels from `place` on in each of the sums. kTaps is 0 where it is not known in advance.
template <int kTaps>
inline void blend_vector(const RowBlend& blend, std::int64_t place, std::int64_t word_step, std::uint64_t* word) {
    const int taps = kTaps == 0 ? blend.taps : kTaps;
    const auto lane = static_cast<int>(place % kWordBits);
    Floats values[kTaps == 0 ? 1 : kTaps];
    for (int tap = 0; tap < kTaps; ++tap) values[tap] = load(blend.rows[tap] + place);
    for (std::int64_t i = 0; i < blend.sum_count; ++i) {
        const float* weights = blend.weights + i;
        Floats sum = broadcast(weights[0]) * (kTaps == 0 ? load(blend.rows[0] + place) : values[0]);
        for (int tap = 1; tap < taps; ++tap) {
            sum += broadcast(weights[tap * blend.weight_step]) *
                   (kTaps == 0 ? load(blend.rows[tap] + place) : values[tap]);
        }
        // Where all rows are above 0 the bit is set already, where none is the sum is not: no weight is negative.
        word[i * word_step] |= std::uint64_t{lanes_greater(sum, Floats{})} << lane;
    }
}

template <int kTaps>
inline void blend_taps(const RowBlend& blend, std::int64_t word_step, std::uint64_t* words) {
    const int taps = kTaps == 0 ? blend.taps : kTaps;
    for (std::int64_t word = 0; word < blend.word_count; ++word) {
        std::uint64_t all = ~std::uint64_t{0}, any = 0;
        for (int tap = 0; tap < taps; ++tap) {
            all &= blend.signs[tap][word];
            any |= blend.signs[tap][word];
        }
        for (std::int64_t i = 0; i < blend.sum_count; ++i) words[i * word_step + word] = all;
        // Where the rows disagree it is the weights that decide.
        for (std::uint64_t open = any & ~all; open != 0;) {
            const int lane = __builtin_ctzll(open) / kLanes * kLanes;
            blend_vector<kTaps>(blend, word * kWordBits + lane, word_step, words + word);
            open &= ~(((std::uint64_t{1} << kLanes) - 1U) << lane);
        }
    }
}

}  // namespace

void mix_prototypes(const PrototypeValues& prototypes, const float* coefficients, std::int64_t first_pixel,
                    std::int64_t count, float* out) {
    if (prototypes.dtype == DataType::kBfloat16) {
        mix<Bfloat16>(prototypes, coefficients, first_pixel, count, out);
    } else {
        mix<float>(prototypes, coefficients, first_pixel, count, out);
    }
}

void centre_probabilities(float* values, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const Floats one = broadcast(1.0f);
        const Floats probability = one / (one + exponential<Floats, Bits>(-load(values + i)));
        store(values + i, probability - 0.5f);
    }
    for (; i < count; ++i) values[i] = sigmoid(values[i]) - 0.5f;
}

// Results between the same two pixels of the source lie side by side: a vector of them needs no gathering, and may
// reach beyond them, since what follows is written next.
void resample_row(const float* row, const RowResampling& resampling, float* out) {
    if (resampling.taps == 2) {
        const float* left = resampling.weights;
        const float* right = left + resampling.weight_step;
        for (std::int64_t i = 0; i < resampling.count;) {
            const float* source = row + (resampling.first[i] - resampling.base);
            const Floats from_left = broadcast(source[0]), from_right = broadcast(source[1]);
            const std::int64_t run_end = resampling.run_ends[i] - resampling.place;
            const std::int64_t end = run_end < resampling.count ? run_end : resampling.count;
            for (; i < end; i += kLanes) store(out + i, load(left + i) * from_left + load(right + i) * from_right);
            i = end;
        }
    } else {
        for (std::int64_t i = 0; i < resampling.count; ++i) {
            const float* source = row + (resampling.first[i] - resampling.base);
            const float* weight = resampling.weights + i;
            float sum = weight[0] * source[0];
            for (int tap = 1; tap < resampling.taps; ++tap) sum += weight[tap * resampling.weight_step] * source[tap];
            out[i] = sum;
        }
    }
    for (int i = 0; i < kMostLanes; ++i) out[resampling.count + i] = 0.0f;
}

void sign_words(const float* values, std::int64_t word_count, std::uint64_t* words) {
    for (std::int64_t word = 0; word < word_count; ++word) {
        std::uint64_t bits = 0;
        for (int lane = 0; lane < kWordBits; lane += kLanes)
            bits |= std::uint64_t{lanes_greater(load(values + word * kWordBits + lane), Floats{})} << lane;
        words[word] = bits;
    }
}

void blend_rows(const RowBlend& blend, std::int64_t word_step, std::uint64_t* words) {
    if (blend.taps == 2) {
        blend_taps<2>(blend, word_step, words);
    } else {
        blend_taps<0>(blend, word_step, words);
    }
}

}  // namespace RFK_VARIANT
}  // namespace rfkernels
