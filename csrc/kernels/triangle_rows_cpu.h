/* CPU half of the triangle multiplicative update (AlphaFold 3, Algorithms 12 and 13): all that
 * stands between its matrix products. Each function works on a block of rows, a row being one pair
 * (i, j) of one system, in a scratch that stays in cache; the caller has the matrix products done
 * on the same scratch and splits the blocks over threads.
 *
 * Two layouts meet here. Rows: [rows][channels], as the network has its pair tensor. Planes:
 * [channels][N * N], one matrix a channel, as the contraction wants them.
 *
 * T is the element type of tensors, Acc that of sums and scratch (double for F64, else float).
 * Each function takes one of the masks of a block (atmos_tr_masks): where it is zero a row is not
 * read, counts as zeros and gets zeros.
 */
#ifndef ATMOS_KERNELS_TRIANGLE_ROWS_CPU_H
#define ATMOS_KERNELS_TRIANGLE_ROWS_CPU_H

#include "element_type.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows [first, first + count) of one system of `size` nodes; row p is the pair (p / size,
 * p % size). */
typedef struct atmos_tr_block {
  int64_t size;
  int64_t first;
  int64_t count;
} atmos_tr_block;

/* The masks of a block's rows, [count] of Acc each. */
typedef struct atmos_tr_masks {
  void* factor;  /* the mask of the pair: scales a and b */
  void* updated; /* 1 where both nodes exist: the pair gets an update, and else none */
  void* read;    /* 1 where either of the two is not zero: the pair of z has a part in something */
} atmos_tr_masks;

/* A pair tensor of one system; channels are contiguous. */
typedef struct atmos_tr_pairs {
  const void* data; /* T */
  int64_t i_stride;
  int64_t j_stride;
} atmos_tr_pairs;

/* Scale, offset (Acc) and epsilon of a layer norm over `channels`. */
typedef struct atmos_tr_norm {
  int64_t channels;
  const void* weight;
  const void* bias;
  double epsilon;
} atmos_tr_norm;

/* What a layer norm leaves for its gradient; arrays of Acc. Masked rows have zeros everywhere. */
typedef struct atmos_tr_normed {
  void* input;  /* [count][channels]; may be null where no gradient follows */
  void* output; /* [count][channels] */
  void* mean;   /* [count] */
  void* scale;  /* [count], 1 / sqrt(variance + epsilon) */
} atmos_tr_normed;

typedef struct atmos_tr_functions {
  const char* name; /* instruction set */
  int64_t accumulator_bytes;

  /* mask (Acc, strides in elements) and nodes [size] (Acc, 1 for those that exist) -> masks. */
  void (*masks)(const atmos_tr_block* block, const void* mask, int64_t i_stride, int64_t j_stride,
                const void* nodes, const atmos_tr_masks* to);

  /* Rows of a pair tensor, normalised. Mask: read. */
  void (*norm_pairs)(const atmos_tr_block* block, const void* mask, const atmos_tr_pairs* from,
                     const atmos_tr_norm* norm, const atmos_tr_normed* to);

  /* Rows of planes (T, `plane` elements apart), normalised. Mask: updated. */
  void (*norm_planes)(const atmos_tr_block* block, const void* mask, const void* planes,
                      int64_t plane, const atmos_tr_norm* norm, const atmos_tr_normed* to);

  /* products [count][4 hidden]: gate and value of a, gate and value of b, before the sigmoid.
   * a = mask sigmoid(gate) value goes to its planes, b likewise. Mask: factor. The sigmoids go to
   * rows gate_a, gate_b (T, [N * N][hidden]) where those are not null. */
  void (*gate)(const atmos_tr_block* block, const void* mask, const void* products, int64_t hidden,
               void* a, void* b, int64_t plane, void* gate_a, void* gate_b);

  /* out (T, contiguous rows) = [z +] sigmoid(gate) value, both [count][channels]. z may be null.
   * Mask: updated. */
  void (*finish)(const atmos_tr_block* block, const void* mask, const void* gate, const void* value,
                 int64_t channels, const atmos_tr_pairs* z, void* out);

  /* The gradient of sigmoid(gate) value; gate and value are overwritten with their gradients.
   * Mask: updated. */
  void (*finish_backward)(const atmos_tr_block* block, const void* mask,
                          const atmos_tr_pairs* grad, void* gate, void* value, int64_t channels);

  /* Gradient of a layer norm: grad [count][channels] is overwritten with that of its input;
   * grad_weight and grad_bias [channels] are added to. */
  void (*norm_backward)(int64_t count, const atmos_tr_norm* norm, const atmos_tr_normed* normed,
                        void* grad, void* grad_weight, void* grad_bias);

  /* Gradients of the gated products from those of a and b. gate_a, gate_b: the sigmoids. Mask:
   * factor. */
  void (*gate_backward)(const atmos_tr_block* block, const void* mask, int64_t hidden,
                        const void* a, const void* b, const void* grad_a, const void* grad_b,
                        int64_t plane, const void* gate_a, const void* gate_b, void* products);

  /* rows [count][channels] -> planes. */
  void (*to_planes)(const atmos_tr_block* block, const void* rows, int64_t channels, void* planes,
                    int64_t plane);

  /* rows (Acc) [+ added] -> out (T, contiguous rows), and back. added: may be null. */
  void (*to_pairs)(const atmos_tr_block* block, const void* rows, int64_t channels,
                   const atmos_tr_pairs* added, void* out);
  void (*from_pairs)(const atmos_tr_block* block, const void* pairs, int64_t channels, void* rows);

  /* Plain conversions of `count` elements between T and Acc. */
  void (*widen)(int64_t count, const void* from, void* to);
  void (*narrow)(int64_t count, const void* from, void* to);
} atmos_tr_functions;

/* Those of the widest instruction set that the build and the machine have (see
 * ATMOS_CPU_INSTRUCTION_SET). */
const atmos_tr_functions* atmos_tr_cpu_functions(atmos_dtype dtype);

#ifdef __cplusplus
}
#endif

#endif
