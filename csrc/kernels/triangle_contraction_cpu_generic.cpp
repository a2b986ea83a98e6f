// 16-byte vectors: SSE2 on x86-64, NEON on aarch64.
#define ATMOS_ISA generic
#define ATMOS_VECTOR_BYTES 16
#define ATMOS_TILE_ROWS 4
#define ATMOS_TILE_COLUMNS 3
#include "triangle_contraction_cpu_impl.h"
