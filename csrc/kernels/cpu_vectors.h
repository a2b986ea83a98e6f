// Vectors of the instruction set that a translation unit is compiled for: element types, loads and
// stores with conversion, transposition, the sigmoid. Needs ATMOS_ISA and ATMOS_VECTOR_BYTES.
// Uses no library templates: an inline function of the standard library compiled here for AVX-512
// could be the copy that the linker keeps for the whole program.
#ifndef ATMOS_KERNELS_CPU_VECTORS_H
#define ATMOS_KERNELS_CPU_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace atmos_cpu {
namespace ATMOS_ISA {

template <class Acc>
struct Vector {
  typedef Acc type __attribute__((vector_size(ATMOS_VECTOR_BYTES), aligned(sizeof(Acc)), may_alias));
  static constexpr int width = ATMOS_VECTOR_BYTES / sizeof(Acc);
};

struct BFloat16 {
  uint16_t bits;
};

static inline float widen(float value) { return value; }
static inline double widen(double value) { return value; }
static inline float widen(BFloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

static inline void narrow(float value, float* to) { *to = value; }
static inline void narrow(double value, double* to) { *to = value; }
// Round to nearest even; a NaN stays a (quiet) NaN.
static inline void narrow(float value, BFloat16* to) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to->bits = value != value ? uint16_t((bits >> 16) | 0x40u) : uint16_t(rounded);
}

template <class T>
struct Accumulate {
  typedef T type;
};
template <>
struct Accumulate<BFloat16> {
  typedef float type;
};

// Loads and stores of one vector in the accumulation type; the second form of only its first
// `lanes` elements, zero beyond.
template <class Acc>
static inline typename Vector<Acc>::type load(const Acc* from) {
  return *reinterpret_cast<const typename Vector<Acc>::type*>(from);
}

// Vectors of the bits of bfloat16 and float, as many of them as floats in a register.
typedef uint16_t Bits16 __attribute__((vector_size(ATMOS_VECTOR_BYTES / 2)));
typedef uint32_t Bits32 __attribute__((vector_size(ATMOS_VECTOR_BYTES)));

static inline Vector<float>::type load(const BFloat16* from) {
  Bits16 narrow_bits;
  memcpy(&narrow_bits, from, sizeof(narrow_bits));
  const Bits32 bits = __builtin_convertvector(narrow_bits, Bits32) << 16;
  Vector<float>::type result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

template <class T>
static inline typename Vector<typename Accumulate<T>::type>::type load(const T* from,
                                                                       int64_t lanes) {
  typedef Vector<typename Accumulate<T>::type> V;
  if (lanes >= V::width) return load(from);
  typename V::type result = {};
  for (int lane = 0; lane < lanes; ++lane) result[lane] = widen(from[lane]);
  return result;
}

template <class Acc>
static inline void store(typename Vector<Acc>::type value, Acc* to) {
  *reinterpret_cast<typename Vector<Acc>::type*>(to) = value;
}

// As narrow().
static inline void store(Vector<float>::type value, BFloat16* to) {
  Bits32 bits;
  memcpy(&bits, &value, sizeof(bits));
  const Bits32 rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Bits32 quiet = (bits >> 16) | 0x40u;
  const Bits32 chosen = value != value ? quiet : rounded;
  const Bits16 result = __builtin_convertvector(chosen, Bits16);
  memcpy(to, &result, sizeof(result));
}

template <class T>
static inline void store(typename Vector<typename Accumulate<T>::type>::type value, T* to,
                         int64_t lanes) {
  typedef Vector<typename Accumulate<T>::type> V;
  if (lanes >= V::width) return store(value, to);
  for (int lane = 0; lane < lanes; ++lane) narrow(value[lane], to + lane);
}

template <class Acc>
static inline Acc sum_lanes(typename Vector<Acc>::type value) {
  // Pairwise, so that the compiler may keep it in registers and the order is fixed.
  Acc lanes[Vector<Acc>::width];
  memcpy(lanes, &value, sizeof(lanes));
  for (int half = Vector<Acc>::width / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

// Integers as wide as the elements: the masks of shuffles, and the exponents.
template <class Acc>
struct Integer {
  typedef uint32_t type;
};
template <>
struct Integer<double> {
  typedef uint64_t type;
};

template <class Acc>
struct Shuffle {
  typedef typename Integer<Acc>::type element;
  typedef element type __attribute__((vector_size(ATMOS_VECTOR_BYTES)));
};

// A square of vectors, rows to columns: blocks of 1, 2, 4, ... lanes beside the diagonal change
// places.
template <class Acc, int distance>
static inline __attribute__((always_inline)) void transpose_step(
    typename Vector<Acc>::type (&rows)[Vector<Acc>::width]) {
  constexpr int width = Vector<Acc>::width;
  typedef typename Shuffle<Acc>::type Mask;
  Mask low, high;
#pragma GCC unroll 16
  for (int lane = 0; lane < width; ++lane) {
    low[lane] = (lane & distance) ? width + lane - distance : lane;
    high[lane] = (lane & distance) ? width + lane : lane + distance;
  }
#pragma GCC unroll 16
  for (int row = 0; row < width; ++row) {
    if (row & distance) continue;
    const typename Vector<Acc>::type first = rows[row], second = rows[row + distance];
    rows[row] = __builtin_shuffle(first, second, low);
    rows[row + distance] = __builtin_shuffle(first, second, high);
  }
}

template <class Acc>
static inline __attribute__((always_inline)) void transpose(
    typename Vector<Acc>::type (&rows)[Vector<Acc>::width]) {
  constexpr int width = Vector<Acc>::width;
  transpose_step<Acc, 1>(rows);
  if constexpr (width > 2) transpose_step<Acc, 2>(rows);
  if constexpr (width > 4) transpose_step<Acc, 4>(rows);
  if constexpr (width > 8) transpose_step<Acc, 8>(rows);
}

// 1 / (1 + exp(-x)). float: the exponential by range reduction and a polynomial of degree 6, within
// 2 units in the last place; double: the library's, for gradient checks. NaN stays NaN.
static inline Vector<float>::type sigmoid(Vector<float>::type x) {
  typedef Vector<float>::type Vec;
  typedef Shuffle<float>::type Int;
  constexpr float kLimit = 87.0f;  // exp(-87) and exp(87) are normal numbers
  Vec y = -x;
  y = y > kLimit ? Vec{} + kLimit : y;
  y = y < -kLimit ? Vec{} - kLimit : y;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = y * 1.44269504088896341f + kMagic;
  const Vec n = shifted - kMagic;
  Vec r = y - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Int bits, exponent;
  memcpy(&bits, &p, sizeof(bits));
  memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 23;  // the integer stands in the low bits of `shifted`
  memcpy(&p, &bits, sizeof(p));
  const Vec result = 1.0f / (1.0f + p);
  return x == x ? result : x;
}

static inline Vector<double>::type sigmoid(Vector<double>::type x) {
  Vector<double>::type result;
  for (int lane = 0; lane < Vector<double>::width; ++lane)
    result[lane] = 1.0 / (1.0 + exp(-x[lane]));
  return result;
}

}  // namespace ATMOS_ISA
}  // namespace atmos_cpu

#endif
