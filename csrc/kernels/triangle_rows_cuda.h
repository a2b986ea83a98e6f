// Row tiles of the triangle multiplicative update on a CUDA device: which rows a block has, their
// layer norms, and moves between planes, rows and shared memory. A row is one pair; a tile is some
// consecutive rows of one system.
#ifndef ATMOS_KERNELS_TRIANGLE_ROWS_CUDA_H
#define ATMOS_KERNELS_TRIANGLE_ROWS_CUDA_H

#include "cuda_tiles.h"
#include "triangle_cuda.h"

namespace atmos_layer {

constexpr int kMostChannels = 256;
constexpr int kLaneChannels = kMostChannels / 32;  // channels of a row that one lane has

// A block: kWarpRows x 2 warps on kTileRows rows; kChunk channels at a time, gate and value.
// Chosen so that all kernels fit into the shared memory of compute capability 8.0 (163 KB).
template <class T_, int kTileRows_, int kWarpRows_, int kChunk_, int kWidest_>
struct Shape {
  using T = T_;
  static constexpr int kTileRows = kTileRows_;
  static constexpr int kWarpRows = kWarpRows_;
  static constexpr int kChunk = kChunk_;
  static constexpr int kWidest = kWidest_;  // most channels
  static constexpr int kThreads = kWarpRows * 64;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kRowTiles = kTileRows / kWarpRows / 16;  // of one warp
  static constexpr int kChunkTiles = kChunk / 16;               // of one warp, gate or value
  static constexpr int kWideTiles = kWidest / 16;               // of one warp, all channels
};

template <class T>
struct Shapes;
template <>
struct Shapes<BFloat16> {
  using Narrow = Shape<BFloat16, 128, 4, 32, 128>;
  using Wide = Shape<BFloat16, 64, 4, 32, 256>;
};
template <>
struct Shapes<float> {
  using Narrow = Shape<float, 64, 4, 32, 128>;
  using Wide = Shape<float, 32, 2, 16, 256>;
};

ATMOS_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

ATMOS_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

// What a block knows of its rows, in shared memory.
template <class S>
struct Tile {
  using T = typename S::T;
  int64_t plane[S::kTileRows];  // offset in a plane
  int64_t z[S::kTileRows];      // offset in z
  int64_t grad[S::kTileRows];   // offset in the gradient of the output, where there is one
  float mask[S::kTileRows];     // factor of a and b; 0 also for rows beyond the system
  bool updated[S::kTileRows];   // both nodes exist
  bool read[S::kTileRows];      // z has a part in something
  float reduced[2][S::kWarps][kMostChannels];
  int64_t first;  // number of the first row in [M]
  int64_t batch;
  int count;

  // Fills it; all threads. tile: number of the tile in the whole batch.
  ATMOS_DEVICE void set(const atmos_tl_problem& problem, const atmos_tl_pairs* gradient,
                        int64_t tile) {
    const int64_t rows = problem.size * problem.size;
    const int64_t tiles = (rows + S::kTileRows - 1) / S::kTileRows;
    const int64_t system = tile / tiles, start = tile % tiles * S::kTileRows;
    if (thread_index() == 0) {
      batch = system;
      first = system * rows + start;
      count = static_cast<int>(rows - start < S::kTileRows ? rows - start : S::kTileRows);
    }
    for (int row = thread_index(); row < S::kTileRows; row += S::kThreads) {
      const int64_t p = start + row;
      const int64_t i = p / problem.size, j = p % problem.size;
      const bool exists = p < rows;
      plane[row] = exists ? i * problem.row_stride + j : 0;
      z[row] = exists ? offset(problem.z, system, i, j) : 0;
      grad[row] = exists && gradient != nullptr ? offset(*gradient, system, i, j) : 0;
      mask[row] =
          exists ? static_cast<const float*>(problem.mask.data)[offset(problem.mask, system, i, j)]
                 : 0.0f;
      const float* const nodes = problem.nodes + system * problem.size;
      updated[row] = exists && nodes[i] != 0.0f && nodes[j] != 0.0f;
      read[row] = updated[row] || mask[row] != 0.0f;
    }
    sync_block();
  }

  static ATMOS_DEVICE int64_t offset(const atmos_tl_pairs& pairs, int64_t batch, int64_t i,
                                     int64_t j) {
    return batch * pairs.batch_stride + i * pairs.i_stride + j * pairs.j_stride;
  }
};

// Scale and offset, and the two statistics of one row whose channels lie over the lanes of a warp.
struct Norm {
  const float* weight;
  const float* bias;
  int channels;
  float epsilon;

  ATMOS_DEVICE void statistics(const float (&row)[kLaneChannels], float& mean,
                               float& scale) const {
    const int lane = thread_index() % 32;
    float total = 0.0f, squares = 0.0f;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k)
      if (lane + 32 * k < channels) total += row[k];
    mean = warp_sum(total) / float(channels);
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k)
      if (lane + 32 * k < channels) squares += (row[k] - mean) * (row[k] - mean);
    scale = 1.0f / sqrtf(warp_sum(squares) / float(channels) + epsilon);
  }
};

ATMOS_DEVICE Norm norm_in(const atmos_tl_problem& problem) {
  return {problem.norm_in_weight, problem.norm_in_bias, int(problem.channels), problem.epsilon};
}
ATMOS_DEVICE Norm norm_out(const atmos_tl_problem& problem) {
  return {problem.norm_out_weight, problem.norm_out_bias, int(problem.hidden), problem.epsilon};
}

// Normalised rows into shared memory, [rows][stride]; `source` gives row r as fetch(r, channel).
// Rows that do not exist are zero and not fetched. The source may be where the rows go: each row is
// read by the warp that writes it.
template <class S, class Source>
ATMOS_DEVICE void normalise(const bool* row_exists, const Norm& norm, const Source& source,
                            typename S::T* to, int stride) {
  using T = typename S::T;
  // Several rows at a time, so that their loads and sums overlap.
  constexpr int kAtOnce = 4;
  static_assert(S::kTileRows % (S::kWarps * kAtOnce) == 0, "whole groups of rows");
  const int lane = thread_index() % 32;
  for (int first = thread_index() / 32; first < S::kTileRows; first += S::kWarps * kAtOnce) {
    float values[kAtOnce][kLaneChannels];
#pragma unroll
    for (int of = 0; of < kAtOnce; ++of) {
      const int row = first + of * S::kWarps;
      const bool exists = row_exists[row];
#pragma unroll
      for (int k = 0; k < kLaneChannels; ++k) {
        const int channel = lane + 32 * k;
        values[of][k] = exists && channel < norm.channels ? source(row, channel) : 0.0f;
      }
    }
    float mean[kAtOnce], scale[kAtOnce];
#pragma unroll
    for (int of = 0; of < kAtOnce; ++of) norm.statistics(values[of], mean[of], scale[of]);
#pragma unroll
    for (int of = 0; of < kAtOnce; ++of) {
      const int row = first + of * S::kWarps;
      const bool exists = row_exists[row];
#pragma unroll
      for (int k = 0; k < kLaneChannels; ++k) {
        const int channel = lane + 32 * k;
        if (channel >= norm.channels) continue;
        const float value =
            (values[of][k] - mean[of]) * scale[of] * norm.weight[channel] + norm.bias[channel];
        to[row * stride + channel] = To<T>::from(exists ? value : 0.0f);
      }
    }
  }
}

template <class S>
ATMOS_DEVICE void normalise_z(const atmos_tl_problem& problem, const Tile<S>& tile,
                              typename S::T* to, int stride) {
  const typename S::T* z = static_cast<const typename S::T*>(problem.z.data);
  normalise<S>(
      tile.read, norm_in(problem),
      [&](int row, int channel) { return widen(z[tile.z[row] + channel]); }, to, stride);
}

// `channels` channels of planes, from `first` on, as rows [rows][stride]; zero beyond the system.
template <class S>
ATMOS_DEVICE void rows_of_planes(const atmos_tl_problem& problem, const Tile<S>& tile,
                                 const void* planes, int channels, typename S::T* to, int stride) {
  using T = typename S::T;
  const T* from =
      static_cast<const T*>(planes) + tile.batch * problem.hidden * problem.plane_stride;
  for (int at = thread_index(); at < channels * S::kTileRows; at += S::kThreads) {
    const int channel = at / S::kTileRows, row = at % S::kTileRows;
    to[row * stride + channel] =
        row < tile.count ? from[channel * problem.plane_stride + tile.plane[row]]
                         : To<T>::from(0.0f);
  }
}

template <class S>
ATMOS_DEVICE void normalise_x(const atmos_tl_problem& problem, const Tile<S>& tile,
                              const void* planes, typename S::T* to, int stride) {
  rows_of_planes<S>(problem, tile, planes, int(problem.hidden), to, stride);
  sync_block();
  normalise<S>(
      tile.updated, norm_out(problem),
      [&](int row, int channel) { return widen(to[row * stride + channel]); }, to, stride);
}

// A matrix [rows][columns] of global memory, `from_stride` apart, aligned to 16 bytes and with
// columns that are whole 16 bytes, into shared memory; rows from `exist` on are zero.
template <class S>
ATMOS_DEVICE void copy_rows(const typename S::T* from, int64_t from_stride, int rows, int columns,
                            int exist, typename S::T* to, int stride) {
  using T = typename S::T;
  constexpr int kEach = kPad<T>;
  const int pieces = columns / kEach;
  for (int at = thread_index(); at < rows * pieces; at += S::kThreads) {
    const int row = at / pieces, column = at % pieces * kEach;
    if (row < exist) {
      copy_16(to + row * stride + column, from + row * from_stride + column);
    } else {
      for (int e = 0; e < kEach; ++e) to[row * stride + column + e] = To<T>::from(0.0f);
    }
  }
}

// Gradient of a layer norm, in place in `grad` [rows][stride] (float), and the tile's part of the
// gradients of scale and offset, [2][channels]. `source` gives the rows before the norm.
template <class S, class Source>
ATMOS_DEVICE void norm_backward(Tile<S>& tile, const bool* row_exists, const Norm& norm,
                                const Source& source, float* grad, int stride, float* part) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  float weight_sum[kLaneChannels], bias_sum[kLaneChannels];
#pragma unroll
  for (int k = 0; k < kLaneChannels; ++k) weight_sum[k] = bias_sum[k] = 0.0f;
  for (int row = warp; row < S::kTileRows; row += S::kWarps) {
    if (!row_exists[row]) {
#pragma unroll
      for (int k = 0; k < kLaneChannels; ++k)
        if (lane + 32 * k < norm.channels) grad[row * stride + lane + 32 * k] = 0.0f;
      continue;
    }
    float values[kLaneChannels], mean, scale, sum = 0.0f, product = 0.0f;
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k)
      values[k] = lane + 32 * k < norm.channels ? source(row, lane + 32 * k) : 0.0f;
    norm.statistics(values, mean, scale);
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) {
      const int channel = lane + 32 * k;
      if (channel >= norm.channels) continue;
      const float given = grad[row * stride + channel];
      values[k] = (values[k] - mean) * scale;
      weight_sum[k] += given * values[k];
      bias_sum[k] += given;
      sum += given * norm.weight[channel];
      product += given * norm.weight[channel] * values[k];
    }
    sum = warp_sum(sum) / float(norm.channels);
    product = warp_sum(product) / float(norm.channels);
#pragma unroll
    for (int k = 0; k < kLaneChannels; ++k) {
      const int channel = lane + 32 * k;
      if (channel >= norm.channels) continue;
      float& at = grad[row * stride + channel];
      at = (at * norm.weight[channel] - sum - values[k] * product) * scale;
    }
  }
#pragma unroll
  for (int k = 0; k < kLaneChannels; ++k) {
    if (lane + 32 * k >= norm.channels) continue;
    tile.reduced[0][warp][lane + 32 * k] = weight_sum[k];
    tile.reduced[1][warp][lane + 32 * k] = bias_sum[k];
  }
  sync_block();
  for (int at = thread_index(); at < 2 * norm.channels; at += S::kThreads) {
    float total = 0.0f;
    for (int each = 0; each < S::kWarps; ++each)
      total += tile.reduced[at / norm.channels][each][at % norm.channels];
    part[at] = total;
  }
}

}  // namespace atmos_layer

#endif
