// The operations of csrc/kernels/cuda_device.h on the host, with the meaning that the PTX manual
// gives them: one fiber a thread, blocks one after the other. Barriers and warp-wide operations
// switch fibers, a thread runs as far ahead of the others as it can, shared memory starts as NaN,
// and background copies arrive no sooner than they are waited for; so a missing barrier or wait, an
// index that is off or an unaligned address shows in the results or stops the program.
//
// ATMOS_EMULATION_ORDER=reverse runs threads and blocks in the opposite order.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#define ATMOS_DEVICE inline
#define ATMOS_HOST_DEVICE inline

namespace atmos_device {

constexpr int kInvalidValue = 1;
inline const char* error_string(int /*error*/) { return "emulated"; }
constexpr int64_t kSharedLimit = 163 * 1024;  // a block's most on compute capability 8.0

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "CUDA emulation: %s\n", what);
  std::abort();
}

struct Copy {
  void* to;
  const void* from;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  std::vector<std::vector<Copy>> groups;  // of copies; the last one is open
  bool done = true;
};

struct WarpSlot {
  int arrived = 0, generation = 0;
  const void* rows[32];
  float values[32];
  uint32_t a[32][4], b[32][2], matrices[32][4];
  float sums[32][4];
};

struct Machine {
  static constexpr size_t kStack = 128 * 1024;
  std::vector<Fiber> fibers;
  std::vector<WarpSlot> warps;
  ucontext_t scheduler;
  int threads = 0, current = 0, arrived = 0, generation = 0;
  int64_t block_x = 0, block_y = 0;
  void (*body)(void*) = nullptr;
  void* body_argument = nullptr;
};

inline Machine& machine() {
  static Machine one;
  return one;
}

inline bool reversed() {
  const char* order = std::getenv("ATMOS_EMULATION_ORDER");
  return order != nullptr && std::strcmp(order, "reverse") == 0;
}

inline void yield() {
  Machine& m = machine();
  swapcontext(&m.fibers[size_t(m.current)].context, &m.scheduler);
}

inline int thread_index() { return machine().current; }
inline int64_t block_index() { return machine().block_x; }
inline int64_t block_index_y() { return machine().block_y; }

inline void sync_block() {
  Machine& m = machine();
  const int generation = m.generation;
  if (++m.arrived == m.threads) {
    m.arrived = 0;
    ++m.generation;
    return;
  }
  while (m.generation == generation) yield();
}

// All lanes of the warp deposit, the last one computes, all go on.
template <class Deposit, class Compute>
inline WarpSlot& together(const Deposit& deposit, const Compute& compute) {
  Machine& m = machine();
  WarpSlot& slot = m.warps[size_t(m.current / 32)];
  deposit(slot, m.current % 32);
  const int generation = slot.generation;
  if (++slot.arrived == 32) {
    compute(slot);
    slot.arrived = 0;
    ++slot.generation;
  } else {
    while (slot.generation == generation) yield();
  }
  return slot;
}

inline float shuffle_xor(float value, int mask) {
  // The sums are free here, and only the last lane to arrive writes them.
  WarpSlot& slot = together([&](WarpSlot& s, int lane) { s.values[lane] = value; },
                            [&](WarpSlot& s) {
                              for (int lane = 0; lane < 32; ++lane)
                                s.sums[lane][0] = s.values[lane ^ mask];
                            });
  return slot.sums[thread_index() % 32][0];
}

inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float bits_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void load_any(uint32_t (&to)[4], const void* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("ldmatrix of an unaligned row");
  WarpSlot& slot = together(
      [&](WarpSlot& s, int lane) { s.rows[lane] = row; },
      [&](WarpSlot& s) {
        for (int matrix = 0; matrix < 4; ++matrix) {
          uint16_t elements[8][8];
          for (int line = 0; line < 8; ++line)
            std::memcpy(elements[line], s.rows[8 * matrix + line], 16);
          for (int lane = 0; lane < 32; ++lane) {
            const int r = lane / 4, c = 2 * (lane % 4);
            const uint32_t low = transposed ? elements[c][r] : elements[r][c];
            const uint32_t high = transposed ? elements[c + 1][r] : elements[r][c + 1];
            s.matrices[lane][matrix] = low | high << 16;
          }
        }
      });
  std::memcpy(to, slot.matrices[thread_index() % 32], sizeof(to));
}
inline void load_matrices(uint32_t (&to)[4], const void* row) { load_any(to, row, false); }
inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  load_any(to, row, true);
}

// mma.m16n8k16: a0..a3 hold (row g, terms t), (g + 8, t), (g, t + 8), (g + 8, t + 8) with
// g = lane / 4 and t = 2 (lane % 4), two terms each; b0, b1 terms t and t + 8 of column g.
inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  WarpSlot& slot = together(
      [&](WarpSlot& s, int lane) {
        std::memcpy(s.a[lane], a, sizeof(a));
        s.b[lane][0] = b0;
        s.b[lane][1] = b1;
        std::memcpy(s.sums[lane], sum, sizeof(sum));
      },
      [&](WarpSlot& s) {
        float left[16][16], right[16][8];
        const auto half = [](uint32_t two, int odd) {
          return bits_float(odd ? two & 0xFFFF0000u : two << 16);
        };
        for (int lane = 0; lane < 32; ++lane)
          for (int odd = 0; odd < 2; ++odd) {
            const int g = lane / 4, t = 2 * (lane % 4) + odd;
            left[g][t] = half(s.a[lane][0], odd);
            left[g + 8][t] = half(s.a[lane][1], odd);
            left[g][t + 8] = half(s.a[lane][2], odd);
            left[g + 8][t + 8] = half(s.a[lane][3], odd);
            right[t][g] = half(s.b[lane][0], odd);
            right[t + 8][g] = half(s.b[lane][1], odd);
          }
        for (int lane = 0; lane < 32; ++lane)
          for (int e = 0; e < 4; ++e) {
            const int row = lane / 4 + e / 2 * 8, column = 2 * (lane % 4) + e % 2;
            for (int k = 0; k < 16; ++k) s.sums[lane][e] += left[row][k] * right[k][column];
          }
      });
  std::memcpy(sum, slot.sums[thread_index() % 32], sizeof(sum));
}

inline void copy_16(void* to, const void* from) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)
    fail("cp.async between unaligned addresses");
  machine().fibers[size_t(machine().current)].groups.back().push_back({to, from});
}
inline void commit_copies() {
  machine().fibers[size_t(machine().current)].groups.emplace_back();
}
template <int kPending>
inline void wait_copies() {
  std::vector<std::vector<Copy>>& groups = machine().fibers[size_t(machine().current)].groups;
  while (groups.size() > size_t(kPending) + 1) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, 16);
    groups.erase(groups.begin());
  }
}

inline void fiber_main() {
  Machine& m = machine();
  m.body(m.body_argument);
  Fiber& self = m.fibers[size_t(m.current)];
  for (const std::vector<Copy>& group : self.groups)
    if (!group.empty()) fail("a copy is never waited for");
  self.done = true;
  swapcontext(&self.context, &m.scheduler);
}

inline void run_block(int threads, bool backwards) {
  Machine& m = machine();
  if (m.fibers.size() < size_t(threads)) m.fibers.resize(size_t(threads));
  m.warps.assign(size_t(threads + 31) / 32, WarpSlot());
  m.threads = threads;
  m.arrived = 0;
  for (int thread = 0; thread < threads; ++thread) {
    Fiber& fiber = m.fibers[size_t(thread)];
    if (!fiber.stack) fiber.stack.reset(new char[Machine::kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = Machine::kStack;
    fiber.context.uc_link = nullptr;
    fiber.done = false;
    fiber.groups.assign(1, {});
    makecontext(&fiber.context, fiber_main, 0);
  }
  for (int left = threads; left > 0;) {
    left = 0;
    for (int turn = 0; turn < threads; ++turn) {
      const int thread = backwards ? threads - 1 - turn : turn;
      if (m.fibers[size_t(thread)].done) continue;
      m.current = thread;
      swapcontext(&m.scheduler, &m.fibers[size_t(thread)].context);
      if (!m.fibers[size_t(thread)].done) ++left;
    }
  }
  if (m.arrived != 0) fail("some threads wait at a barrier that others never reach");
}

template <class Kernel>
int launch(int64_t blocks, int64_t blocks_y, int64_t shared_bytes,
           const typename Kernel::Arguments& arguments, void* /*stream*/) {
  if (shared_bytes > kSharedLimit) fail("more shared memory than compute capability 8.0 has");
  struct Call {
    const typename Kernel::Arguments* arguments;
    unsigned char* shared;
  };
  std::vector<unsigned char> memory(size_t(shared_bytes) + 16);
  unsigned char* shared = memory.data();
  while (reinterpret_cast<uintptr_t>(shared) % 16 != 0) ++shared;
  Call call{&arguments, shared};
  Machine& m = machine();
  m.body_argument = &call;
  m.body = [](void* argument) {
    const Call& given = *static_cast<const Call*>(argument);
    Kernel::run(*given.arguments, given.shared);
  };
  const bool backwards = reversed();
  for (int64_t index = 0; index < blocks * blocks_y; ++index) {
    const int64_t at = backwards ? blocks * blocks_y - 1 - index : index;
    m.block_x = at % blocks;
    m.block_y = at / blocks;
    std::memset(shared, 0xFF, size_t(shared_bytes));
    run_block(Kernel::kThreads, backwards);
  }
  return 0;
}

}  // namespace atmos_device
