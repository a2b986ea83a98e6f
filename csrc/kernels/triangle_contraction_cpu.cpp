// Picks the widest instruction set that both the build and the machine have. The environment variable
// ATMOS_CPU_INSTRUCTION_SET (avx2 or generic) asks for a narrower one, for tests and comparisons.
#include <stdlib.h>
#include <string.h>

#include "triangle_contraction_cpu.h"

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
  const char* name;
  atmos_tc_cpu_plan (*make_plan)(const atmos_tc_problem&, int64_t);
  void (*run)(const atmos_tc_problem&, const atmos_tc_cpu_plan&, int64_t, int64_t, void*);
};

#ifdef ATMOS_HAVE_X86
// 2: up to AVX-512, 1: up to AVX2, 0: the generic code.
int widest_allowed() {
  const char* asked = getenv("ATMOS_CPU_INSTRUCTION_SET");
  if (asked != nullptr && strcmp(asked, "generic") == 0) return 0;
  if (asked != nullptr && strcmp(asked, "avx2") == 0) return 1;
  return 2;
}
#endif

Implementation choose() {
#ifdef ATMOS_HAVE_X86
  const int widest = widest_allowed();
  __builtin_cpu_init();
  if (widest >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return {"avx512", avx512::make_plan, avx512::run};
  if (widest >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"avx2", avx2::make_plan, avx2::run};
#endif
  return {"generic", generic::make_plan, generic::run};
}

const Implementation& implementation() {
  static const Implementation chosen = choose();
  return chosen;
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

extern "C" const char* atmos_tc_cpu_isa(void) { return atmos_tc::implementation().name; }
