// CPU backend of the triangle multiplicative update.
#include "triangle_cpu.h"

#include "triangle_operators.h"

TORCH_LIBRARY_IMPL(atmos, CPU, m) {
  atmos::TriangleOperators<atmos::cpu::CpuLayer>::implement(m);
}
