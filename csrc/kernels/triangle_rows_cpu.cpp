// The row kernels of the triangle multiplicative update in the instruction set of this machine.
#include "triangle_rows_cpu.h"

#include "cpu_instruction_set.h"

namespace atmos_tr {

namespace generic {
const atmos_tr_functions& functions(atmos_dtype dtype, const char* name);
}
#ifdef ATMOS_HAVE_X86
namespace avx2 {
const atmos_tr_functions& functions(atmos_dtype dtype, const char* name);
}
namespace avx512 {
const atmos_tr_functions& functions(atmos_dtype dtype, const char* name);
}
#endif

}  // namespace atmos_tr

extern "C" const atmos_tr_functions* atmos_tr_cpu_functions(atmos_dtype dtype) {
  using atmos_cpu::InstructionSet;
  const InstructionSet set = atmos_cpu::instruction_set();
  const char* name = atmos_cpu::name_of(set);
  switch (set) {
#ifdef ATMOS_HAVE_X86
    case InstructionSet::kAvx512: return &atmos_tr::avx512::functions(dtype, name);
    case InstructionSet::kAvx2: return &atmos_tr::avx2::functions(dtype, name);
#endif
    default: return &atmos_tr::generic::functions(dtype, name);
  }
}
