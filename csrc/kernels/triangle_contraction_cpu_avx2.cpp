// 16 registers: 12 accumulators, 3 columns, 1 row.
#define ATMOS_ISA avx2
#define ATMOS_VECTOR_BYTES 32
#define ATMOS_TILE_ROWS 4
#define ATMOS_TILE_COLUMNS 3
#include "triangle_contraction_cpu_impl.h"
