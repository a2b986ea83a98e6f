/* CUDA half of the triangle multiplicative update: everything but the contraction, which is a
 * batched matrix product of planes and is the caller's (torch has cuBLAS loaded). Steps:
 *
 *   both       nodes
 *   forward    project -> x = product of a and b -> finish
 *   backward   project -> output_backward -> products for grad_a, grad_b -> input_backward
 *              -> weight_gradient three times -> sum of the parts
 *
 * Each step is queued on `stream` (a cudaStream_t) of the current device and returns at once with a
 * cudaError_t (0: success). No step allocates, waits or uses atomics: all may be captured in a CUDA
 * graph, and two runs are bit-equal.
 *
 * dtype F32 (CUDA cores) or BF16 (tensor cores, float32 sums); channels and hidden are multiples of
 * 32 from 32 to 256. M = batch * size * size. Planes: [batch][hidden][size rows], rows `row_stride`
 * and matrices `plane_stride` elements apart.
 */
#ifndef ATMOS_KERNELS_TRIANGLE_CUDA_H
#define ATMOS_KERNELS_TRIANGLE_CUDA_H

#include "element_type.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct atmos_tl_pairs { /* [batch][size][size][channels], channels contiguous */
  const void* data;
  int64_t batch_stride;
  int64_t i_stride;
  int64_t j_stride;
} atmos_tl_pairs;

typedef struct atmos_tl_problem {
  atmos_dtype dtype;
  int64_t batch;
  int64_t size;
  int64_t channels;
  int64_t hidden;
  float epsilon;
  int32_t residual;
  atmos_tl_pairs z;
  atmos_tl_pairs mask; /* float; no channels */
  const float* nodes;  /* [batch][size], what atmos_tl_cuda_nodes gives */
  /* Matrices of the dtype, contiguous, aligned to 16 bytes. */
  const void* gate_a;  /* [hidden][channels], this and the next three */
  const void* value_a;
  const void* gate_b;
  const void* value_b;
  const void* gate;    /* [channels][channels] */
  const void* value;   /* [channels][hidden] */
  const float* norm_in_weight;
  const float* norm_in_bias;
  const float* norm_out_weight;
  const float* norm_out_bias;
  int64_t row_stride;
  int64_t plane_stride;
} atmos_tl_problem;

/* Sizes that depend on the shape and dtype alone. */
typedef struct atmos_tl_plan {
  int64_t tiles;  /* row tiles: parts of the gradients of the layer norms */
  int64_t splits; /* parts of the gradients of the weights */
} atmos_tl_plan;

atmos_tl_plan atmos_tl_cuda_plan(const atmos_tl_problem* problem);

/* nodes [batch][size]: 0 for nodes whose row of the factors is masked as a whole (mask[i,k] for
 * outgoing, mask[k,i] for incoming edges), else 1. Pairs with such a node get no update. Of the
 * problem, batch, size and mask are read. */
int atmos_tl_cuda_nodes(const atmos_tl_problem* problem, int outgoing, float* nodes, void* stream);

/* a, b: planes. */
int atmos_tl_cuda_project(const atmos_tl_problem* problem, void* a, void* b, void* stream);

/* x: planes. out [M][channels]. */
int atmos_tl_cuda_finish(const atmos_tl_problem* problem, const void* x, void* out, void* stream);

/* grad_gate, grad_value [M][channels]; grad_x: planes; parts [tiles][2][hidden]: gradients of scale
 * and offset of the output norm. */
int atmos_tl_cuda_output_backward(const atmos_tl_problem* problem, const atmos_tl_pairs* grad,
                                  const void* x, void* grad_gate, void* grad_value, void* grad_x,
                                  float* parts, void* stream);

/* products [M][4 hidden]: gate and value of a, gate and value of b; grad_z [M][channels]; parts
 * [tiles][2][channels] of the input norm. */
int atmos_tl_cuda_input_backward(const atmos_tl_problem* problem, const atmos_tl_pairs* grad,
                                 const void* grad_a, const void* grad_b, const void* grad_gate,
                                 void* products, void* grad_z, float* parts, void* stream);

/* parts [splits][width][channels] = grads^T n for grads [M][width] and n the normalised rows of z;
 * with x: those of x instead, [splits][width][hidden]. */
int atmos_tl_cuda_weight_gradient(const atmos_tl_problem* problem, const void* x,
                                  const void* grads, int64_t width, float* parts, void* stream);

/* out [width] = sum of parts [count][width], in the order of the parts; scratch
 * [2 ceil(count / 64)][width]. */
int atmos_tl_cuda_sum(const float* parts, int64_t count, int64_t width, float* scratch, float* out,
                      void* stream);

const char* atmos_cuda_error_string(int error);

#ifdef __cplusplus
}
#endif

#endif
