// CUDA half of the triangle contraction: a tiled product per channel on the CUDA cores.
//
// The 32 lanes of a warp hold 32 neighbouring channels, so that global and shared memory are read
// in whole lines and without bank conflicts; a warp owns kWarpTile x kWarpTile pairs (p,q), one
// channel a thread in registers; a block of kWarps x kWarps warps shares its rows and columns
// through shared memory, kTerms terms of the sum at a time. Masks are applied and bfloat16 is
// widened on the way into shared memory. Each output is one thread's sum in the order of r: no
// atomics, bit-equal from run to run.
#include <cuda_runtime.h>
#include <stdint.h>

#include "triangle_contraction_cuda.h"

namespace {

constexpr int kLanes = 32;
constexpr int kWarpTile = 8;

struct BFloat16 {
  uint16_t bits;
};

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

__device__ inline void narrow(float value, float* to) { *to = value; }
__device__ inline void narrow(double value, double* to) { *to = value; }
// Round to nearest even; a NaN stays a (quiet) NaN.
__device__ inline void narrow(float value, BFloat16* to) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to->bits = static_cast<uint16_t>(value != value ? (bits >> 16) | 0x40u : rounded);
}

template <class T>
struct Accumulate {
  using type = T;
};
template <>
struct Accumulate<BFloat16> {
  using type = float;
};

// Element (row, term) of an input for this thread's channel, masked and widened.
template <class T, class Acc>
__device__ inline Acc fetch(const atmos_tc_input& input, int64_t size, int64_t batch, int64_t row,
                            int64_t term, int64_t channel, bool channel_exists) {
  if (row >= size || term >= size || !channel_exists) return Acc(0);
  Acc scale = Acc(1);
  if (input.mask != nullptr) {
    scale = static_cast<const Acc*>(input.mask)[batch * input.mask_batch_stride +
                                                row * input.mask_row_stride +
                                                term * input.mask_sum_stride];
    if (scale == Acc(0)) return Acc(0);
  }
  const T* from = static_cast<const T*>(input.data) + batch * input.batch_stride +
                  row * input.row_stride + term * input.sum_stride + channel;
  return widen(*from) * scale;
}

template <class T, int kWarps, int kTerms>
__global__ void __launch_bounds__(kLanes* kWarps* kWarps)
    contract(const atmos_tc_problem problem, const int64_t tiles, const int64_t first_slab) {
  using Acc = typename Accumulate<T>::type;
  constexpr int kTile = kWarps * kWarpTile;
  __shared__ Acc x_tile[kTerms][kTile][kLanes];
  __shared__ Acc y_tile[kTerms][kTile][kLanes];

  const int lane = threadIdx.x;
  const int warp = threadIdx.y;
  const int warp_row = (warp / kWarps) * kWarpTile;
  const int warp_column = (warp % kWarps) * kWarpTile;
  const int64_t size = problem.size;
  const int64_t tile_row = (static_cast<int64_t>(blockIdx.x) / tiles) * kTile;
  const int64_t tile_column = (static_cast<int64_t>(blockIdx.x) % tiles) * kTile;
  // A slab is a group of 32 channels of one batch element.
  const int64_t groups = (problem.channels + kLanes - 1) / kLanes;
  const int64_t slab = first_slab + blockIdx.y;
  const int64_t batch = slab / groups;
  const int64_t channel = (slab % groups) * kLanes + lane;
  const bool channel_exists = channel < problem.channels;

  Acc sum[kWarpTile][kWarpTile];
#pragma unroll
  for (int p = 0; p < kWarpTile; ++p)
#pragma unroll
    for (int q = 0; q < kWarpTile; ++q) sum[p][q] = Acc(0);

  for (int64_t first = 0; first < size; first += kTerms) {
#pragma unroll 2
    for (int item = warp; item < kTerms * kTile; item += kWarps * kWarps) {
      const int term = item / kTile;
      const int row = item % kTile;
      x_tile[term][row][lane] = fetch<T, Acc>(problem.x, size, batch, tile_row + row, first + term,
                                              channel, channel_exists);
      y_tile[term][row][lane] = fetch<T, Acc>(problem.y, size, batch, tile_column + row,
                                              first + term, channel, channel_exists);
    }
    __syncthreads();
#pragma unroll
    for (int term = 0; term < kTerms; ++term) {
      Acc column[kWarpTile];
#pragma unroll
      for (int q = 0; q < kWarpTile; ++q) column[q] = y_tile[term][warp_column + q][lane];
#pragma unroll
      for (int p = 0; p < kWarpTile; ++p) {
        const Acc row = x_tile[term][warp_row + p][lane];
#pragma unroll
        for (int q = 0; q < kWarpTile; ++q) sum[p][q] += row * column[q];
      }
    }
    __syncthreads();
  }

  if (!channel_exists) return;
  const atmos_tc_output& output = problem.out;
#pragma unroll
  for (int p = 0; p < kWarpTile; ++p) {
    const int64_t row = tile_row + warp_row + p;
    if (row >= size) continue;
#pragma unroll
    for (int q = 0; q < kWarpTile; ++q) {
      const int64_t column = tile_column + warp_column + q;
      if (column >= size) continue;
      Acc value = sum[p][q];
      if (output.mask != nullptr) {
        const Acc scale = static_cast<const Acc*>(
            output.mask)[batch * output.mask_batch_stride + row * output.mask_row_stride +
                         column * output.mask_column_stride];
        value = scale == Acc(0) ? Acc(0) : value * scale;
      }
      narrow(value, static_cast<T*>(output.data) + batch * output.batch_stride +
                        row * output.row_stride + column * output.column_stride + channel);
    }
  }
}

template <class T, int kWarps, int kTerms>
cudaError_t launch(const atmos_tc_problem& problem, cudaStream_t stream) {
  constexpr int64_t kTile = kWarps * kWarpTile;
  constexpr int64_t kMostSlabs = 65535;  // limit of gridDim.y
  const int64_t tiles = (problem.size + kTile - 1) / kTile;
  if (tiles * tiles > 2147483647) return cudaErrorInvalidValue;
  const int64_t slabs = problem.batch * ((problem.channels + kLanes - 1) / kLanes);
  for (int64_t first = 0; first < slabs; first += kMostSlabs) {
    const int64_t count = slabs - first < kMostSlabs ? slabs - first : kMostSlabs;
    const dim3 grid(static_cast<unsigned>(tiles * tiles), static_cast<unsigned>(count));
    const dim3 block(kLanes, kWarps * kWarps);
    contract<T, kWarps, kTerms><<<grid, block, 0, stream>>>(problem, tiles, first);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

// Small problems take small tiles, to have enough blocks for the device; the order of the sums is
// the same. So does double, whose accumulators fill the registers of a large block twice.
template <class T>
cudaError_t choose(const atmos_tc_problem& problem, cudaStream_t stream) {
  constexpr int64_t kLargeTilesFrom = 192;
  if constexpr (sizeof(typename Accumulate<T>::type) == 8) {
    return launch<T, 2, 2>(problem, stream);
  } else {
    if (problem.size >= kLargeTilesFrom) return launch<T, 4, 4>(problem, stream);
    return launch<T, 2, 4>(problem, stream);
  }
}

}  // namespace

extern "C" int atmos_tc_cuda_run(const atmos_tc_problem* problem, void* stream) {
  if (problem->batch <= 0 || problem->size <= 0 || problem->channels <= 0) return cudaSuccess;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  switch (problem->dtype) {
    case ATMOS_TC_F32: return choose<float>(*problem, on);
    case ATMOS_TC_F64: return choose<double>(*problem, on);
    case ATMOS_TC_BF16: return choose<BFloat16>(*problem, on);
  }
  return cudaErrorInvalidValue;
}

extern "C" const char* atmos_cuda_error_string(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
