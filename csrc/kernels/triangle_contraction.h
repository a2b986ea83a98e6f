/* The contraction at the heart of the triangle multiplicative updates (AlphaFold 3, Algorithms 12
 * and 13), stated once for forward and backward, CPU and CUDA:
 *
 *     out[b,p,q,c] = om[b,p,q] * sum_r  xm[b,p,r] x[b,p,r,c] * ym[b,q,r] y[b,q,r,c]
 *
 * p, q and r run over 0..size-1. Outgoing, incoming and the four gradients differ only in which
 * tensor stands for x and y and in which of its two pair strides comes first.
 *
 * Rules that every implementation keeps:
 *   - where a mask is zero the element is not read: whatever stands there, NaN included, counts as
 *     zero, and an output whose om is zero is exactly zero;
 *   - sums are taken in the accumulation type (double for F64, float otherwise), in an order that
 *     depends on size alone: not on the batch, on the number of threads or on the run;
 *   - offsets are 64-bit.
 */
#ifndef ATMOS_KERNELS_TRIANGLE_CONTRACTION_H
#define ATMOS_KERNELS_TRIANGLE_CONTRACTION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element type of x, y and out. Masks are double with F64 and float with the other two. */
typedef enum atmos_tc_dtype {
  ATMOS_TC_F32 = 0,
  ATMOS_TC_F64 = 1,
  ATMOS_TC_BF16 = 2
} atmos_tc_dtype;

/* Strides count elements. Channels are contiguous (stride 1). */
typedef struct atmos_tc_input {
  const void* data;
  int64_t batch_stride;
  int64_t row_stride; /* p for x, q for y */
  int64_t sum_stride; /* r */
  const void* mask;   /* null: no mask */
  int64_t mask_batch_stride;
  int64_t mask_row_stride;
  int64_t mask_sum_stride;
} atmos_tc_input;

typedef struct atmos_tc_output {
  void* data;
  int64_t batch_stride;
  int64_t row_stride;    /* p */
  int64_t column_stride; /* q */
  const void* mask;      /* null: no mask */
  int64_t mask_batch_stride;
  int64_t mask_row_stride;
  int64_t mask_column_stride;
} atmos_tc_output;

typedef struct atmos_tc_problem {
  atmos_tc_dtype dtype;
  int64_t batch;
  int64_t size;
  int64_t channels;
  atmos_tc_input x;
  atmos_tc_input y;
  atmos_tc_output out;
} atmos_tc_problem;

#ifdef __cplusplus
}
#endif

#endif
