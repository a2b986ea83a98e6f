/* CUDA half of the triangle contraction. */
#ifndef ATMOS_KERNELS_TRIANGLE_CONTRACTION_CUDA_H
#define ATMOS_KERNELS_TRIANGLE_CONTRACTION_CUDA_H

#include "triangle_contraction.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Queues the problem on `stream` (a cudaStream_t) of the current device and returns at once, with a
 * cudaError_t (0: success). Deterministic; needs no workspace; may be captured in a CUDA graph.
 * Pointers are device pointers; out must not overlap the inputs. */
int atmos_tc_cuda_run(const atmos_tc_problem* problem, void* stream);

const char* atmos_cuda_error_string(int error);

#ifdef __cplusplus
}
#endif

#endif
