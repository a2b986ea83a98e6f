// The few operations of a CUDA device that the kernels are written in, each with the meaning
// that the PTX manual gives it. With ATMOS_EMULATE_CUDA they come from an emulation on the host
// (tests/cuda_emulation), so that the kernels' indices can be tested where there is no GPU.
#ifndef ATMOS_KERNELS_CUDA_DEVICE_H
#define ATMOS_KERNELS_CUDA_DEVICE_H

#include <stdint.h>

#ifdef ATMOS_EMULATE_CUDA
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>

#define ATMOS_DEVICE __device__ __forceinline__
#define ATMOS_HOST_DEVICE __host__ __device__ inline

namespace atmos_device {

ATMOS_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
ATMOS_DEVICE int64_t block_index() { return static_cast<int64_t>(blockIdx.x); }
ATMOS_DEVICE int64_t block_index_y() { return static_cast<int64_t>(blockIdx.y); }
ATMOS_DEVICE void sync_block() { __syncthreads(); }
ATMOS_DEVICE float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
ATMOS_DEVICE uint32_t float_bits(float value) { return __float_as_uint(value); }
ATMOS_DEVICE float bits_float(uint32_t bits) { return __uint_as_float(bits); }

// Four 8 x 8 matrices of 16-bit elements from shared memory: lanes 8 m to 8 m + 7 give the rows of
// matrix m (16 bytes each, aligned to 16); lane l gets elements 2 (l % 4) and 2 (l % 4) + 1 of row
// l / 4 of each, or of column l / 4 in the transposed form.
ATMOS_DEVICE void load_matrices(uint32_t (&to)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
ATMOS_DEVICE void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// sum += a b on the tensor cores, 16 x 8 += (16 x 16) (16 x 8), bfloat16 in, float32 sums.
ATMOS_DEVICE void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copies 16 bytes from global to shared memory in the background (both aligned to 16).
// commit_copies closes a group of this thread's own copies; wait_copies<n> waits for all groups but
// the last n.
ATMOS_DEVICE void copy_16(void* to, const void* from) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(address), "l"(from) : "memory");
}
ATMOS_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int kPending>
ATMOS_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads)
    entry(const typename Kernel::Arguments arguments) {
  extern __shared__ __align__(16) unsigned char shared[];
  Kernel::run(arguments, shared);
}

template <class Kernel>
int launch(int64_t blocks, int64_t blocks_y, int64_t shared_bytes,
           const typename Kernel::Arguments& arguments, void* stream) {
  if (blocks > 2147483647 || blocks_y > 65535) return cudaErrorInvalidConfiguration;
  const int bytes = static_cast<int>(shared_bytes);
  const cudaError_t error = cudaFuncSetAttribute(
      entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(blocks_y));
  entry<Kernel><<<grid, Kernel::kThreads, static_cast<size_t>(bytes),
                  static_cast<cudaStream_t>(stream)>>>(arguments);
  return cudaGetLastError();
}

constexpr int kInvalidValue = cudaErrorInvalidValue;

inline const char* error_string(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // namespace atmos_device
#endif

#endif
