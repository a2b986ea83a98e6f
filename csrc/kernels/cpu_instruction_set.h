// The instruction sets that the CPU kernels are built for.
#ifndef ATMOS_KERNELS_CPU_INSTRUCTION_SET_H
#define ATMOS_KERNELS_CPU_INSTRUCTION_SET_H

namespace atmos_cpu {

enum class InstructionSet { kGeneric, kAvx2, kAvx512 };

// The widest that both the build and the machine have. The environment variable
// ATMOS_CPU_INSTRUCTION_SET (avx2 or generic) asks for a narrower one, for tests and comparisons.
InstructionSet instruction_set();

const char* name_of(InstructionSet set);

}  // namespace atmos_cpu

#endif
