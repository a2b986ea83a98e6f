#define ATMOS_ISA avx2
#define ATMOS_VECTOR_BYTES 32
#include "triangle_rows_cpu_impl.h"
