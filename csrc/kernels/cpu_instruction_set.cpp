#include "cpu_instruction_set.h"

#include <stdlib.h>
#include <string.h>

namespace atmos_cpu {

namespace {

#ifdef ATMOS_HAVE_X86
InstructionSet widest_allowed() {
  const char* asked = getenv("ATMOS_CPU_INSTRUCTION_SET");
  if (asked != nullptr && strcmp(asked, "generic") == 0) return InstructionSet::kGeneric;
  if (asked != nullptr && strcmp(asked, "avx2") == 0) return InstructionSet::kAvx2;
  return InstructionSet::kAvx512;
}
#endif

InstructionSet choose() {
#ifdef ATMOS_HAVE_X86
  const InstructionSet widest = widest_allowed();
  __builtin_cpu_init();
  if (widest >= InstructionSet::kAvx512 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return InstructionSet::kAvx512;
  if (widest >= InstructionSet::kAvx2 && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma"))
    return InstructionSet::kAvx2;
#endif
  return InstructionSet::kGeneric;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512: return "avx512";
    case InstructionSet::kAvx2: return "avx2";
    default: return "generic";
  }
}

}  // namespace atmos_cpu
