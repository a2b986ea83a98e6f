#ifndef ATMOS_VECTORMATH_H_
#define ATMOS_VECTORMATH_H_

#include <cstdint>
#include <cstring>

// Functions of floats that the compiler's vectoriser takes, for loops over many atoms.

// One build serves every x86 processor: the loader picks the widest instructions that there are.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define ATMOS_WIDEST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ATMOS_WIDEST
#endif

namespace AtmosPlugin {

/** 1 / (4 pi eps0) (in kJ nm/mol/e^2), as OpenMM has it. */
constexpr double COULOMB = 138.935456;

/** Atoms are taken to be at least this far apart (in nm), so that no term overflows. */
constexpr float CLOSEST = 1e-3f;

inline int32_t bitsOf(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

inline float floatOf(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

/** exp(a) for a <= 0, to 2e-7 of itself. */
inline float exponential(float a) {
    a = a < -80.0f ? -80.0f : a;
    const float n = static_cast<float>(static_cast<int32_t>(a * 1.44269504f - 0.5f));
    const float r = (a - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * floatOf((static_cast<int32_t>(n) + 127) << 23);
}

/** log(a) for a > 0, to 2e-7 of itself or of 1. */
inline float logarithm(float a) {
    // a = 2^n m, m between 2/3 and 4/3.

    const int32_t n = (bitsOf(a) - 0x3f2aaaab) >> 23;
    const float m = floatOf(bitsOf(a) - (n << 23)), s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    const float series = s * (2.0f + s2 * (2.0f / 3 + s2 * (2.0f / 5 + s2 * (2.0f / 7 + s2 * (2.0f / 9)))));
    return static_cast<float>(n) * 0.693147181f + series;
}

/** The nearest whole number, for |a| below 2^22. */
inline float nearest(float a) {
    return static_cast<float>(static_cast<int32_t>(a + (a < 0.0f ? -0.5f : 0.5f)));
}

inline float larger(float a, float b) {
    return a > b ? a : b;
}

} // namespace AtmosPlugin

#endif // ATMOS_VECTORMATH_H_
