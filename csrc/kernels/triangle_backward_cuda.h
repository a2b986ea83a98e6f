// Backward kernels of the triangle multiplicative update on a CUDA device. Nothing but x comes from
// the forward pass: the projections are computed again from z.
#ifndef ATMOS_KERNELS_TRIANGLE_BACKWARD_CUDA_H
#define ATMOS_KERNELS_TRIANGLE_BACKWARD_CUDA_H

#include "triangle_forward_cuda.h"

namespace atmos_layer {

constexpr int kFloatPad = 4;

inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// From the gradient of the output to those of the output gate, its value, and x.
template <class S>
struct OutputBackward {
  using T = typename S::T;
  static constexpr int kThreads = S::kThreads;
  static constexpr int kColumns = 2 * S::kChunk;
  static constexpr int kColumnStride = kColumns + kPad<T>;
  struct Arguments {
    atmos_tl_problem problem;
    atmos_tl_pairs grad;
    const T* x;
    T* grad_gate;
    T* grad_value;
    T* grad_x;
    float* parts;
  };

  // The gradient of x, in float, takes the place of the normalised x.
  static int64_t contracted_bytes(const atmos_tl_problem& problem) {
    return larger(padded_bytes<T>(S::kTileRows, widest(problem)),
                  S::kTileRows * (problem.hidden + kFloatPad) * int64_t(sizeof(float)));
  }
  static int64_t shared_bytes(const atmos_tl_problem& problem) {
    return kTileBytes<S> + padded_bytes<T>(S::kTileRows, widest(problem)) +
           weight_elements(problem) * int64_t(sizeof(T)) + contracted_bytes(problem);
  }
  // Gate and value rows of a chunk; later [channels][kColumns] of the projection.
  static ATMOS_HOST_DEVICE int64_t weight_elements(const atmos_tl_problem& problem) {
    const int64_t rows = kColumns * (widest(problem) + kPad<T>);
    const int64_t columns = problem.channels * kColumnStride;
    return rows > columns ? rows : columns;
  }

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* shared) {
    const atmos_tl_problem& problem = arguments.problem;
    const int channels = int(problem.channels), hidden = int(problem.hidden);
    const int stride = (channels > hidden ? channels : hidden) + kPad<T>;
    const int back_stride = hidden + kFloatPad;
    Tile<S>& tile = *reinterpret_cast<Tile<S>*>(shared);
    T* const normed = reinterpret_cast<T*>(shared + kTileBytes<S>);
    T* const weights = normed + S::kTileRows * stride;
    T* const contracted = weights + weight_elements(problem);
    float* const back = reinterpret_cast<float*>(contracted);
    tile.set(problem, &arguments.grad, block_index());
    normalise_z<S>(problem, tile, normed, stride);
    normalise_x<S>(problem, tile, arguments.x, contracted, stride);

    const T* const grad = static_cast<const T*>(arguments.grad.data);
    T* const grad_gate = arguments.grad_gate + tile.first * channels;
    T* const grad_value = arguments.grad_value + tile.first * channels;
    gate_and_value<S, 1>(problem, normed, contracted, weights, stride,
                      [&](int row, int channel, float gate, float value) {
                        if (row >= tile.count) return;
                        float of_gate = 0.0f, of_value = 0.0f;
                        if (tile.updated[row]) {
                          const float factor = sigmoid(gate);
                          of_value = widen(grad[tile.grad[row] + channel]) * factor;
                          of_gate = of_value * value * (1.0f - factor);
                        }
                        grad_gate[int64_t(row) * channels + channel] = To<T>::from(of_gate);
                        grad_value[int64_t(row) * channels + channel] = To<T>::from(of_value);
                      });

    // Through the projection. What this block wrote to global memory, it reads after the barrier.
    sync_block();
    copy_rows_of_matrix(grad_value, channels, tile.count, normed, stride);
    const Warp<S> warp;
    for (int chunk = 0; chunk < hidden; chunk += kColumns) {
      const int exist = hidden - chunk < kColumns ? hidden - chunk : kColumns;
      copy_rows<S>(static_cast<const T*>(problem.value) + chunk, hidden, channels, exist, channels,
                   weights, kColumnStride);
      commit_copies();
      wait_copies<0>();
      sync_block();
      // Columns that do not exist are not stored; what stands there does not matter.
      Sums<S::kRowTiles, 2 * S::kChunkTiles> sums;
      sums.clear();
      multiply<Fastest::kSum, Fastest::kOther>(sums, normed + warp.row * stride, stride,
                                               weights + warp.half * S::kChunk, kColumnStride,
                                               channels, 2 * S::kChunkTiles);
      sums.each(2 * S::kChunkTiles, [&](int row, int column, float value) {
        const int channel = chunk + warp.half * S::kChunk + column;
        if (channel < hidden) back[(warp.row + row) * back_stride + channel] = value;
      });
      sync_block();
    }

    // Through the layer norm, with x once more, and out to planes.
    rows_of_planes<S>(problem, tile, arguments.x, hidden, normed, stride);
    sync_block();
    norm_backward<S>(
        tile, tile.updated, norm_out(problem),
        [&](int row, int channel) { return widen(normed[row * stride + channel]); }, back,
        back_stride, arguments.parts + block_index() * 2 * hidden);
    T* const grad_x = arguments.grad_x + tile.batch * hidden * problem.plane_stride;
    for (int at = thread_index(); at < hidden * S::kTileRows; at += S::kThreads) {
      const int channel = at / S::kTileRows, row = at % S::kTileRows;
      if (row < tile.count)
        grad_x[channel * problem.plane_stride + tile.plane[row]] =
            To<T>::from(back[row * back_stride + channel]);
    }
  }

  // Rows that this block wrote with ordinary stores: read back with ordinary loads.
  static ATMOS_DEVICE void copy_rows_of_matrix(const T* from, int columns, int exist, T* to,
                                               int stride) {
    for (int at = thread_index(); at < S::kTileRows * columns; at += S::kThreads) {
      const int row = at / columns, column = at % columns;
      to[row * stride + column] =
          row < exist ? from[int64_t(row) * columns + column] : To<T>::from(0.0f);
    }
  }
};

// From the gradients of a, b and the output gate to that of z.
template <class S>
struct InputBackward {
  using T = typename S::T;
  static constexpr int kThreads = S::kThreads;
  static constexpr int kColumns = 2 * S::kChunk;  // gate and value of a chunk
  static constexpr int kColumnStride = kColumns + kPad<T>;
  static constexpr int kStage = S::kChunk + kPad<T>;
  static constexpr int kHalf = S::kChunk / 2;
  struct Arguments {
    atmos_tl_problem problem;
    atmos_tl_pairs grad;
    const T* grad_a;
    const T* grad_b;
    const T* grad_gate;
    T* products;
    T* grad_z;
    float* parts;
  };

  static int64_t shared_bytes(const atmos_tl_problem& problem) {
    const int64_t elements = (S::kTileRows + kColumns) * (problem.channels + kPad<T>) +
                             S::kTileRows * (kColumnStride + kStage);
    return kTileBytes<S> +
           larger(elements * int64_t(sizeof(T)),
                  S::kTileRows * (problem.channels + kFloatPad) * int64_t(sizeof(float)));
  }

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* shared) {
    const atmos_tl_problem& problem = arguments.problem;
    const int channels = int(problem.channels), hidden = int(problem.hidden);
    const int stride = channels + kPad<T>;
    Tile<S>& tile = *reinterpret_cast<Tile<S>*>(shared);
    T* const normed = reinterpret_cast<T*>(shared + kTileBytes<S>);
    T* const weights = normed + S::kTileRows * stride;
    T* const given = weights + kColumns * stride;           // [rows][kColumns]
    T* const stage = given + S::kTileRows * kColumnStride;  // [rows][kChunk]
    tile.set(problem, &arguments.grad, block_index());
    normalise_z<S>(problem, tile, normed, stride);

    const Warp<S> warp;
    const int own_tiles = channels / 16;
    Sums<S::kRowTiles, S::kWideTiles> back;
    back.clear();
    for (int side = 0; side < 2; ++side) {
      const T* gate = static_cast<const T*>(side == 0 ? problem.gate_a : problem.gate_b);
      const T* value = static_cast<const T*>(side == 0 ? problem.value_a : problem.value_b);
      const T* const grads = side == 0 ? arguments.grad_a : arguments.grad_b;
      for (int chunk = 0; chunk < hidden; chunk += S::kChunk) {
        sync_block();
        copy_gate_and_value<S>(gate + int64_t(chunk) * channels, value + int64_t(chunk) * channels,
                               channels, channels, weights, stride);
        rows_of_planes<S>(problem, tile, grads + chunk * problem.plane_stride, S::kChunk, stage,
                          kStage);
        commit_copies();
        wait_copies<0>();
        sync_block();
        multiply_gate_and_value<S>(
            normed, channels, normed, channels, weights, stride,
            [&](int row, int channel, float gate_sum, float value_sum) {
              const float mask = tile.mask[row];
              float of_gate = 0.0f, of_value = 0.0f;
              if (mask != 0.0f) {
                const float factor = sigmoid(gate_sum);
                of_value = widen(stage[row * kStage + channel]) * mask * factor;
                of_gate = of_value * value_sum * (1.0f - factor);
              }
              // In the order of the rows of `weights`.
              T* const to = given + row * kColumnStride + warp.half * kHalf + channel;
              to[0] = To<T>::from(of_gate);
              to[kHalf] = To<T>::from(of_value);
            });
        sync_block();
        T* const products =
            arguments.products + tile.first * 4 * hidden + side * 2 * hidden + chunk;
        for (int at = thread_index(); at < S::kTileRows * kColumns; at += S::kThreads) {
          const int row = at / kColumns, column = at % kColumns;
          const int part = column / kHalf, of_part = column % kHalf;
          if (row < tile.count)
            products[int64_t(row) * 4 * hidden + part % 2 * hidden + part / 2 * kHalf + of_part] =
                given[row * kColumnStride + column];
        }
        multiply<Fastest::kSum, Fastest::kOther>(back, given + warp.row * kColumnStride,
                                                 kColumnStride,
                                                 weights + warp.half * (channels / 2), stride,
                                                 kColumns, own_tiles);
      }
    }

    // What comes back through the output gate.
    const T* const grad_gate = arguments.grad_gate + tile.first * channels;
    for (int chunk = 0; chunk < channels; chunk += S::kChunk) {
      sync_block();
      copy_rows<S>(static_cast<const T*>(problem.gate) + int64_t(chunk) * channels, channels,
                   S::kChunk, channels, S::kChunk, weights, stride);
      copy_rows<S>(grad_gate + chunk, channels, S::kTileRows, S::kChunk, tile.count, given,
                   kColumnStride);
      commit_copies();
      wait_copies<0>();
      sync_block();
      multiply<Fastest::kSum, Fastest::kOther>(back, given + warp.row * kColumnStride,
                                               kColumnStride,
                                               weights + warp.half * (channels / 2), stride,
                                               S::kChunk, own_tiles);
    }
    sync_block();

    // Through the layer norm, with z once more.
    float* const sums = reinterpret_cast<float*>(normed);
    const int sum_stride = channels + kFloatPad;
    back.each(own_tiles, [&](int row, int column, float value) {
      sums[(warp.row + row) * sum_stride + warp.half * (channels / 2) + column] = value;
    });
    sync_block();
    const T* const z = static_cast<const T*>(problem.z.data);
    norm_backward<S>(
        tile, tile.read, norm_in(problem),
        [&](int row, int channel) { return widen(z[tile.z[row] + channel]); }, sums, sum_stride,
        arguments.parts + block_index() * 2 * channels);
    const T* const grad = static_cast<const T*>(arguments.grad.data);
    T* const grad_z = arguments.grad_z + tile.first * channels;
    for (int at = thread_index(); at < S::kTileRows * channels; at += S::kThreads) {
      const int row = at / channels, channel = at % channels;
      if (row >= tile.count) continue;
      float value = sums[row * sum_stride + channel];
      if (problem.residual) value += widen(grad[tile.grad[row] + channel]);
      grad_z[int64_t(row) * channels + channel] = To<T>::from(value);
    }
  }
};

// Gradients of weights: grads^T times the normalised rows of z, or of x. A block has 64 columns of
// grads (32 with the small tiles of wide float) and a range of the row tiles.
template <class S, bool kOfX>
struct WeightGradient {
  using T = typename S::T;
  static constexpr int kThreads = S::kThreads;
  static constexpr int kColumns = S::kWarpRows * 16;
  static constexpr int kColumnStride = kColumns + kPad<T>;
  struct Arguments {
    atmos_tl_problem problem;
    const T* x;
    const T* grads;
    int64_t width;
    int64_t tiles;
    int64_t splits;
    float* parts;
  };

  static int64_t shared_bytes(const atmos_tl_problem& problem) {
    return kTileBytes<S> +
           padded_bytes<T>(S::kTileRows, kOfX ? problem.hidden : problem.channels) +
           S::kTileRows * kColumnStride * int64_t(sizeof(T));
  }

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* shared) {
    const atmos_tl_problem& problem = arguments.problem;
    const int terms = int(kOfX ? problem.hidden : problem.channels);
    const int stride = terms + kPad<T>;
    Tile<S>& tile = *reinterpret_cast<Tile<S>*>(shared);
    T* const normed = reinterpret_cast<T*>(shared + kTileBytes<S>);
    T* const grads = normed + S::kTileRows * stride;  // [rows][kColumns]
    const int64_t split = block_index_y();
    const int64_t column = block_index() * kColumns;
    const int64_t left = arguments.width - column;
    const int exist = int(left < kColumns ? left : kColumns);
    const int own_tiles = terms / 16;
    const int own_column = thread_index() / 32 % S::kWarpRows * 16;
    const int half = thread_index() / 32 / S::kWarpRows;
    Sums<1, S::kWideTiles> sums;
    sums.clear();
    const int64_t last = (split + 1) * arguments.tiles / arguments.splits;
    for (int64_t index = split * arguments.tiles / arguments.splits; index < last; ++index) {
      sync_block();
      tile.set(problem, nullptr, index);
      if constexpr (kOfX)
        normalise_x<S>(problem, tile, arguments.x, normed, stride);
      else
        normalise_z<S>(problem, tile, normed, stride);
      for (int at = thread_index(); at < S::kTileRows * kColumns; at += S::kThreads) {
        const int row = at / kColumns, of = at % kColumns;
        grads[row * kColumnStride + of] =
            row < tile.count && of < exist
                ? arguments.grads[(tile.first + row) * arguments.width + column + of]
                : To<T>::from(0.0f);
      }
      sync_block();
      multiply<Fastest::kOther, Fastest::kOther>(sums, grads + own_column, kColumnStride,
                                                 normed + half * (terms / 2), stride, S::kTileRows,
                                                 own_tiles);
    }
    float* const part = arguments.parts + (split * arguments.width + column) * terms;
    sums.each(own_tiles, [&](int row, int of, float value) {
      if (own_column + row < exist)
        part[int64_t(own_column + row) * terms + half * (terms / 2) + of] = value;
    });
  }
};

// Sums of kGroup parts each, in their order; one thread an element.
struct SumParts {
  static constexpr int kThreads = 128;
  static constexpr int kGroup = 64;
  struct Arguments {
    const float* parts;
    int64_t count;
    int64_t width;
    float* out;
  };

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* /*shared*/) {
    const int64_t at = block_index() * kThreads + thread_index();
    if (at >= arguments.width) return;
    const int64_t first = block_index_y() * kGroup;
    const int64_t last = first + kGroup < arguments.count ? first + kGroup : arguments.count;
    float total = 0.0f;
    for (int64_t part = first; part < last; ++part)
      total += arguments.parts[part * arguments.width + at];
    arguments.out[block_index_y() * arguments.width + at] = total;
  }
};

}  // namespace atmos_layer

#endif
