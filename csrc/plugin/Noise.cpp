#include "Noise.h"

#include <cmath>
#include <random>

using namespace std;

namespace AtmosPlugin {
namespace Noise {

static uint64_t mix(uint64_t z) {
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static double uniform(uint64_t key, uint64_t k) {
    // 53 bits, shifted by half a unit so that the logarithm below never sees 0.

    return (static_cast<double>(mix(key + k) >> 11) + 0.5) * 0x1p-53;
}

static uint64_t streamKey(uint64_t seed, uint64_t stream, uint64_t attempt) {
    return mix(mix(mix(seed) ^ stream) ^ attempt);
}

vector<double> uniforms(uint64_t seed, uint64_t stream, uint64_t attempt, size_t count) {
    const uint64_t key = streamKey(seed, stream, attempt);
    vector<double> numbers(count);
    for (size_t k = 0; k < count; k++)
        numbers[k] = uniform(key, k);
    return numbers;
}

vector<double> gaussians(uint64_t seed, uint64_t stream, uint64_t attempt, size_t count) {
    const uint64_t key = streamKey(seed, stream, attempt);
    vector<double> numbers(count);
    for (size_t k = 0; k < count; k += 2) {
        const double radius = sqrt(-2.0 * log(uniform(key, k)));
        const double angle = 2.0 * M_PI * uniform(key, k + 1);
        numbers[k] = radius * cos(angle);
        if (k + 1 < count)
            numbers[k + 1] = radius * sin(angle);
    }
    return numbers;
}

Draws::Draws(uint64_t seed, uint64_t stream, uint64_t attempt) : key(streamKey(seed, stream, attempt)) {
}

double Draws::uniform() {
    return AtmosPlugin::Noise::uniform(key, next++);
}

double Draws::normal() {
    const double radius = sqrt(-2.0 * log(uniform()));
    return radius * cos(2.0 * M_PI * uniform());
}

uint64_t drawSeed() {
    random_device entropy;
    uint64_t seed = 0;
    while (seed == 0)
        seed = ((static_cast<uint64_t>(entropy()) << 32) ^ entropy()) & ((1ull << 53) - 1);
    return seed;
}

} // namespace Noise
} // namespace AtmosPlugin
