/* CPU half of the triangle contraction. Single-threaded: the caller splits the units of work. */
#ifndef ATMOS_KERNELS_TRIANGLE_CONTRACTION_CPU_H
#define ATMOS_KERNELS_TRIANGLE_CONTRACTION_CPU_H

#include "triangle_contraction.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a problem is cut into independent units (a batch element, a group of channels, a range of
 * rows p). Results do not depend on max_rows. */
typedef struct atmos_tc_cpu_plan {
  int64_t units;
  int64_t row_blocks;      /* ranges of p in one channel group */
  int64_t rows;            /* rows in a range; the last may have fewer */
  int64_t channel_groups;
  int64_t workspace_bytes; /* scratch one thread needs */
} atmos_tc_cpu_plan;

/* max_rows <= 0 takes the default. */
atmos_tc_cpu_plan atmos_tc_cpu_make_plan(const atmos_tc_problem* problem, int64_t max_rows);

/* Computes units [begin, end). workspace: plan->workspace_bytes bytes, aligned to 64, not shared
 * with another thread. out must not overlap the inputs. */
void atmos_tc_cpu_run(const atmos_tc_problem* problem, const atmos_tc_cpu_plan* plan,
                      int64_t begin, int64_t end, void* workspace);

/* Instruction set picked on this machine: "avx512", "avx2" or "generic". */
const char* atmos_tc_cpu_isa(void);

#ifdef __cplusplus
}
#endif

#endif
