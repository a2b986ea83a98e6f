// Element types, and products of small matrices in shared memory, one warp a tile: bfloat16 on the
// tensor cores, float32 by the CUDA cores, with the sums of a warp spread over its lanes in the
// same way.
#ifndef ATMOS_KERNELS_CUDA_TILES_H
#define ATMOS_KERNELS_CUDA_TILES_H

#include <stdint.h>

#include "cuda_device.h"

namespace atmos_layer {

using namespace atmos_device;

struct BFloat16 {
  uint16_t bits;
};

ATMOS_DEVICE float widen(float value) { return value; }
ATMOS_DEVICE float widen(BFloat16 value) {
  return bits_float(static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
struct To;
template <>
struct To<float> {
  static ATMOS_DEVICE float from(float value) { return value; }
};
template <>
struct To<BFloat16> {
  // Round to nearest even; a NaN stays a (quiet) NaN.
  static ATMOS_DEVICE BFloat16 from(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    return {static_cast<uint16_t>(value != value ? (bits >> 16) | 0x40u : rounded)};
  }
};

// Elements of 16 bytes: the padding of a row in shared memory, which keeps rows aligned and spreads
// them over the banks.
template <class T>
constexpr int kPad = 16 / int(sizeof(T));

// Which index of a matrix in shared memory runs fastest: the one that is summed over, or the other.
enum class Fastest { kSum, kOther };

// Sums of a warp: kRows tiles of 16 rows by kColumns tiles of 8 columns. Lane l holds of each tile
// the rows l / 4 (elements 0, 1) and l / 4 + 8 (2, 3), columns 2 (l % 4) and 2 (l % 4) + 1.
template <int kRows, int kColumns>
struct Sums {
  float at[kRows][kColumns][4];

  ATMOS_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < kRows; ++m)
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) at[m][n][e] = 0.0f;
  }

  // task(row, column, sum) for each of this lane's sums in the first `columns` tiles.
  template <class Task>
  ATMOS_DEVICE void each(int columns, const Task& task) const {
    const int lane = thread_index() % 32;
#pragma unroll
    for (int m = 0; m < kRows; ++m)
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
        if (n < columns) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            task(m * 16 + lane / 4 + (e / 2) * 8, n * 8 + 2 * (lane % 4) + e % 2, at[m][n][e]);
        }
  }
};

// sums[row][column] += sum over k of a(row, k) b(column, k), for the first `columns` tiles of
// columns. a and b point at the warp's first row and column; k runs over 0 .. terms - 1.
template <Fastest kA, Fastest kB, int kRows, int kColumns>
ATMOS_DEVICE void multiply(Sums<kRows, kColumns>& sums, const BFloat16* a, int a_stride,
                           const BFloat16* b, int b_stride, int terms, int columns) {
  static_assert(kColumns % 2 == 0, "two tiles of columns are loaded at a time");
  const int lane = thread_index() % 32;
  const int matrix = lane / 8, line = lane % 8;
  for (int k = 0; k < terms; k += 16) {
    uint32_t left[kRows][4];
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      // Matrices in the order of the fragment: rows 0-7 and 8-15 of terms 0-7, then of terms 8-15.
      const int row = m * 16 + (matrix % 2) * 8, term = k + (matrix / 2) * 8;
      if constexpr (kA == Fastest::kSum)
        load_matrices(left[m], a + (row + line) * a_stride + term);
      else
        load_matrices_transposed(left[m], a + (term + line) * a_stride + row);
    }
#pragma unroll
    for (int n = 0; n < kColumns; n += 2) {
      if (n >= columns) continue;
      // Terms 0-7 and 8-15 of the first tile of columns, then of the second.
      const int column = (n + matrix / 2) * 8, term = k + (matrix % 2) * 8;
      uint32_t right[4];
      if constexpr (kB == Fastest::kSum)
        load_matrices(right, b + (column + line) * b_stride + term);
      else
        load_matrices_transposed(right, b + (term + line) * b_stride + column);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        multiply_add(sums.at[m][n], left[m], right[0], right[1]);
        multiply_add(sums.at[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

template <Fastest kA, Fastest kB, int kRows, int kColumns>
ATMOS_DEVICE void multiply(Sums<kRows, kColumns>& sums, const float* a, int a_stride,
                           const float* b, int b_stride, int terms, int columns) {
  const int lane = thread_index() % 32;
  const int row = lane / 4, column = 2 * (lane % 4);
  for (int k = 0; k < terms; ++k) {
    float left[kRows][2];
#pragma unroll
    for (int m = 0; m < kRows; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = m * 16 + half * 8 + row;
        left[m][half] = kA == Fastest::kSum ? a[at * a_stride + k] : a[k * a_stride + at];
      }
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      if (n >= columns) continue;
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int at = n * 8 + column + odd;
        const float right = kB == Fastest::kSum ? b[at * b_stride + k] : b[k * b_stride + at];
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
          sums.at[m][n][odd] += left[m][0] * right;
          sums.at[m][n][2 + odd] += left[m][1] * right;
        }
      }
    }
  }
}

}  // namespace atmos_layer

#endif
