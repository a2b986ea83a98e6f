#define ATMOS_ISA avx512
#define ATMOS_VECTOR_BYTES 64
#include "triangle_rows_cpu_impl.h"
