// The triangle contraction in the instruction set of this machine.
#include "triangle_contraction_cpu.h"

#include "cpu_instruction_set.h"

namespace atmos_tc {

#define ATMOS_DECLARE_ISA(isa)                                                       \
  namespace isa {                                                                    \
  atmos_tc_cpu_plan make_plan(const atmos_tc_problem& problem, int64_t max_rows);    \
  void run(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan,           \
           int64_t begin, int64_t end, void* workspace);                             \
  }
ATMOS_DECLARE_ISA(generic)
#ifdef ATMOS_HAVE_X86
ATMOS_DECLARE_ISA(avx2)
ATMOS_DECLARE_ISA(avx512)
#endif

namespace {

struct Implementation {
  atmos_tc_cpu_plan (*make_plan)(const atmos_tc_problem&, int64_t);
  void (*run)(const atmos_tc_problem&, const atmos_tc_cpu_plan&, int64_t, int64_t, void*);
};

Implementation implementation() {
  switch (instruction_set()) {
#ifdef ATMOS_HAVE_X86
    case InstructionSet::kAvx512: return {avx512::make_plan, avx512::run};
    case InstructionSet::kAvx2: return {avx2::make_plan, avx2::run};
#endif
    default: return {generic::make_plan, generic::run};
  }
}

}  // namespace
}  // namespace atmos_tc

extern "C" atmos_tc_cpu_plan atmos_tc_cpu_make_plan(const atmos_tc_problem* problem,
                                                    int64_t max_rows) {
  return atmos_tc::implementation().make_plan(*problem, max_rows);
}

extern "C" void atmos_tc_cpu_run(const atmos_tc_problem* problem, const atmos_tc_cpu_plan* plan,
                                 int64_t begin, int64_t end, void* workspace) {
  atmos_tc::implementation().run(*problem, *plan, begin, end, workspace);
}

extern "C" const char* atmos_tc_cpu_isa(void) {
  return atmos_tc::name_of(atmos_tc::instruction_set());
}
