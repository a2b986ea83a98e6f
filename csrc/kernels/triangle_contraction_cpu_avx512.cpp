// 32 registers: 24 accumulators, 6 columns, 1 row.
#define ATMOS_ISA avx512
#define ATMOS_VECTOR_BYTES 64
#define ATMOS_TILE_ROWS 4
#define ATMOS_TILE_COLUMNS 6
#include "triangle_contraction_cpu_impl.h"
