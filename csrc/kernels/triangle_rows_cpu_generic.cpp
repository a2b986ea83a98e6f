// 16-byte vectors: SSE2 on x86-64, NEON on aarch64.
#define ATMOS_ISA generic
#define ATMOS_VECTOR_BYTES 16
#include "triangle_rows_cpu_impl.h"
