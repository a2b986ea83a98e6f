// Forward kernels of the triangle multiplicative update on a CUDA device.
#ifndef ATMOS_KERNELS_TRIANGLE_FORWARD_CUDA_H
#define ATMOS_KERNELS_TRIANGLE_FORWARD_CUDA_H

#include "triangle_rows_cuda.h"

namespace atmos_layer {

template <class S>
constexpr int64_t kTileBytes = (int64_t(sizeof(Tile<S>)) + 15) / 16 * 16;

// Bytes of [rows][channels] in shared memory, padded.
template <class T>
int64_t padded_bytes(int64_t rows, int64_t channels) {
  return rows * (channels + kPad<T>) * int64_t(sizeof(T));
}

ATMOS_HOST_DEVICE int64_t widest(const atmos_tl_problem& problem) {
  return problem.channels > problem.hidden ? problem.channels : problem.hidden;
}

// Where a warp works: its first row, and its half of the columns.
template <class S>
struct Warp {
  int row, half;
  ATMOS_DEVICE Warp()
      : row(thread_index() / 32 % S::kWarpRows * (S::kRowTiles * 16)),
        half(thread_index() / 32 / S::kWarpRows) {}
};

// kChunk gate rows and kChunk value rows of two matrices, in the order in which each half of the
// warps takes its own gates and values: [half][gate, value][kChunk / 2].
template <class S>
ATMOS_DEVICE void copy_gate_and_value(const typename S::T* gate, const typename S::T* value,
                                      int gate_columns, int value_columns, typename S::T* to,
                                      int stride) {
  constexpr int kHalf = S::kChunk / 2;
  for (int part = 0; part < 4; ++part) {
    const bool is_value = part % 2 == 1;
    const int columns = is_value ? value_columns : gate_columns;
    copy_rows<S>((is_value ? value : gate) + int64_t(part / 2) * kHalf * columns, columns, kHalf,
                 columns, kHalf, to + part * kHalf * stride, stride);
  }
}

// The products of rows with one chunk of weights, as copy_gate_and_value lays it out: this warp's
// part, as after(row, channel, gate, value) with the channel counted from the chunk's first.
template <class S, class After>
ATMOS_DEVICE void multiply_gate_and_value(const typename S::T* gate_rows, int gate_terms,
                                          const typename S::T* value_rows, int value_terms,
                                          const typename S::T* weights, int stride,
                                          const After& after) {
  const Warp<S> warp;
  const typename S::T* const own = weights + warp.half * S::kChunk * stride;
  Sums<S::kRowTiles, S::kChunkTiles> gates, values;
  gates.clear();
  values.clear();
  multiply<Fastest::kSum, Fastest::kSum>(gates, gate_rows + warp.row * stride, stride, own, stride,
                                         gate_terms, S::kChunkTiles);
  multiply<Fastest::kSum, Fastest::kSum>(values, value_rows + warp.row * stride, stride,
                                         own + S::kChunk / 2 * stride, stride, value_terms,
                                         S::kChunkTiles);
  const int lane = thread_index() % 32;
#pragma unroll
  for (int m = 0; m < S::kRowTiles; ++m)
#pragma unroll
    for (int n = 0; n < S::kChunkTiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        after(warp.row + m * 16 + lane / 4 + e / 2 * 8,
              warp.half * (S::kChunk / 2) + n * 8 + 2 * (lane % 4) + e % 2, gates.at[m][n][e],
              values.at[m][n][e]);
}

// Which nodes exist; a warp a node.
struct Nodes {
  static constexpr int kThreads = 128;
  struct Arguments {
    atmos_tl_pairs mask;
    int64_t batch;
    int64_t size;
    int outgoing;
    float* nodes;
  };

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* /*shared*/) {
    const int64_t node = block_index() * (kThreads / 32) + thread_index() / 32;
    if (node >= arguments.batch * arguments.size) return;
    const int64_t i = node % arguments.size;
    const float* const mask = static_cast<const float*>(arguments.mask.data) +
                              node / arguments.size * arguments.mask.batch_stride;
    float found = 0.0f;
    for (int64_t k = thread_index() % 32; k < arguments.size; k += 32) {
      const float value = arguments.outgoing
                              ? mask[i * arguments.mask.i_stride + k * arguments.mask.j_stride]
                              : mask[k * arguments.mask.i_stride + i * arguments.mask.j_stride];
      if (value != 0.0f) found = 1.0f;
    }
    found = warp_sum(found);
    if (thread_index() % 32 == 0) arguments.nodes[node] = found != 0.0f ? 1.0f : 0.0f;
  }
};

// Layer norm, the four gated projections and the mask: rows of z to planes of a and b.
template <class S>
struct Project {
  using T = typename S::T;
  static constexpr int kThreads = S::kThreads;
  static constexpr int kStage = S::kTileRows + kPad<T>;
  struct Arguments {
    atmos_tl_problem problem;
    T* a;
    T* b;
  };

  // Chunks in turn go to the one and the other buffer.
  static ATMOS_DEVICE int buffer(int side, int chunk, int hidden) {
    return (side * (hidden / S::kChunk) + chunk / S::kChunk) % 2;
  }

  static int64_t shared_bytes(const atmos_tl_problem& problem) {
    return kTileBytes<S> + padded_bytes<T>(S::kTileRows + 4 * S::kChunk, problem.channels) +
           S::kChunk * kStage * int64_t(sizeof(T));
  }

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* shared) {
    const atmos_tl_problem& problem = arguments.problem;
    const int channels = int(problem.channels), hidden = int(problem.hidden);
    const int stride = channels + kPad<T>;
    Tile<S>& tile = *reinterpret_cast<Tile<S>*>(shared);
    T* const normed = reinterpret_cast<T*>(shared + kTileBytes<S>);
    T* const weights = normed + S::kTileRows * stride;  // two buffers
    T* const stage = weights + 4 * S::kChunk * stride;
    // The weights of the next chunk arrive while this one is computed.
    const auto prefetch = [&](int side, int chunk) {
      const T* gate = static_cast<const T*>(side == 0 ? problem.gate_a : problem.gate_b);
      const T* value = static_cast<const T*>(side == 0 ? problem.value_a : problem.value_b);
      const int64_t start = int64_t(chunk) * channels;
      if (side < 2)
        copy_gate_and_value<S>(gate + start, value + start, channels, channels,
                               weights + buffer(side, chunk, hidden) * 2 * S::kChunk * stride,
                               stride);
      commit_copies();
    };
    prefetch(0, 0);
    tile.set(problem, nullptr, block_index());
    normalise_z<S>(problem, tile, normed, stride);

    for (int side = 0; side < 2; ++side) {
      T* const planes = (side == 0 ? arguments.a : arguments.b) +
                        tile.batch * hidden * problem.plane_stride;
      for (int chunk = 0; chunk < hidden; chunk += S::kChunk) {
        const bool last = chunk + S::kChunk == hidden;
        prefetch(last ? side + 1 : side, last ? 0 : chunk + S::kChunk);
        wait_copies<1>();
        sync_block();
        const T* const own = weights + buffer(side, chunk, hidden) * 2 * S::kChunk * stride;
        multiply_gate_and_value<S>(normed, channels, normed, channels, own, stride,
                                   [&](int row, int channel, float gate, float value) {
                                     const float mask = tile.mask[row];
                                     const float result =
                                         mask == 0.0f ? 0.0f : mask * sigmoid(gate) * value;
                                     stage[channel * kStage + row] = To<T>::from(result);
                                   });
        sync_block();
        for (int at = thread_index(); at < S::kChunk * S::kTileRows; at += S::kThreads) {
          const int channel = at / S::kTileRows, row = at % S::kTileRows;
          if (row < tile.count)
            planes[(chunk + channel) * problem.plane_stride + tile.plane[row]] =
                stage[channel * kStage + row];
        }
      }
    }
  }
};

// The products of the output gate and of its value, chunk by chunk: after(row, channel, gate,
// value) for every element. `normed` and `contracted` hold the normalised rows of z and x.
// With two buffers of weights the next chunk's arrive while this one is computed.
template <class S, int kWeightBuffers, class After>
ATMOS_DEVICE void gate_and_value(const atmos_tl_problem& problem, const typename S::T* normed,
                                 const typename S::T* contracted, typename S::T* weights,
                                 int stride, const After& after) {
  using T = typename S::T;
  const int channels = int(problem.channels), hidden = int(problem.hidden);
  const auto buffer = [&](int chunk) {
    return weights + chunk / S::kChunk % kWeightBuffers * 2 * S::kChunk * stride;
  };
  const auto prefetch = [&](int chunk) {
    if (chunk < channels)
      copy_gate_and_value<S>(static_cast<const T*>(problem.gate) + int64_t(chunk) * channels,
                             static_cast<const T*>(problem.value) + int64_t(chunk) * hidden,
                             channels, hidden, buffer(chunk), stride);
    commit_copies();
  };
  prefetch(0);
  for (int chunk = 0; chunk < channels; chunk += S::kChunk) {
    if (kWeightBuffers == 2) {
      prefetch(chunk + S::kChunk);
      wait_copies<1>();
    } else {
      if (chunk > 0) prefetch(chunk);
      wait_copies<0>();
    }
    sync_block();
    multiply_gate_and_value<S>(normed, channels, contracted, hidden, buffer(chunk), stride,
                               [&](int row, int channel, float gate, float value) {
                                 after(row, chunk + channel, gate, value);
                               });
    sync_block();  // all warps are done with these weights
  }
}

// Both layer norms, the output gate and projection, and the residual: x and z to out.
template <class S>
struct Finish {
  using T = typename S::T;
  static constexpr int kThreads = S::kThreads;
  struct Arguments {
    atmos_tl_problem problem;
    const T* x;
    T* out;
  };

  static int64_t shared_bytes(const atmos_tl_problem& problem) {
    return kTileBytes<S> + padded_bytes<T>(2 * S::kTileRows + 4 * S::kChunk, widest(problem));
  }

  static ATMOS_DEVICE void run(const Arguments& arguments, unsigned char* shared) {
    const atmos_tl_problem& problem = arguments.problem;
    const int channels = int(problem.channels), hidden = int(problem.hidden);
    const int stride = (channels > hidden ? channels : hidden) + kPad<T>;
    Tile<S>& tile = *reinterpret_cast<Tile<S>*>(shared);
    T* const normed = reinterpret_cast<T*>(shared + kTileBytes<S>);
    T* const contracted = normed + S::kTileRows * stride;
    T* const weights = contracted + S::kTileRows * stride;
    tile.set(problem, nullptr, block_index());
    normalise_z<S>(problem, tile, normed, stride);
    normalise_x<S>(problem, tile, arguments.x, contracted, stride);

    const T* const z = static_cast<const T*>(problem.z.data);
    T* const out = arguments.out + tile.first * channels;
    gate_and_value<S, 2>(
        problem, normed, contracted, weights, stride,
        [&](int row, int channel, float gate, float value) {
          if (row >= tile.count) return;
          float result = tile.updated[row] ? sigmoid(gate) * value : 0.0f;
          if (problem.residual) result += widen(z[tile.z[row] + channel]);
          out[int64_t(row) * channels + channel] = To<T>::from(result);
        });
  }
};

}  // namespace atmos_layer

#endif
