// Body of the CPU kernel. Included once per instruction set, by a translation unit that defines
//   ATMOS_ISA           name of the namespace
//   ATMOS_VECTOR_BYTES  width of a vector register
//   ATMOS_TILE_ROWS, ATMOS_TILE_COLUMNS   register tile (rows p, columns q)
// Uses no library templates: an inline function of the standard library compiled here for AVX-512
// could be the copy that the linker keeps for the whole program.
//
// Scheme: one vector holds neighbouring channels, so the contraction is a matrix product per lane
// and needs no transposition. For a group of channels, rows of x are packed (mask applied,
// converted to the accumulation type) for one block of the sum, then columns of y a register tile
// at a time. The packed tile of y stays in the first-level cache, the packed block of x in the
// second; a register tile of rows x columns accumulators runs over the block of the sum.

#include <string.h>

#include "triangle_contraction_cpu.h"

namespace atmos_tc {
namespace ATMOS_ISA {

constexpr int kTileRows = ATMOS_TILE_ROWS;
constexpr int kTileColumns = ATMOS_TILE_COLUMNS;
// Terms of the sum packed at once: a packed tile of y is then at most 24 KB with AVX-512.
constexpr int64_t kSumBlock = 64;
constexpr int64_t kDefaultRows = 128;
constexpr int64_t kAlign = 64;

template <class Acc>
struct Vector {
  typedef Acc type __attribute__((vector_size(ATMOS_VECTOR_BYTES), aligned(sizeof(Acc)), may_alias));
  static constexpr int width = ATMOS_VECTOR_BYTES / sizeof(Acc);
};

struct BFloat16 {
  uint16_t bits;
};

static inline float widen(float value) { return value; }
static inline double widen(double value) { return value; }
static inline float widen(BFloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

static inline void narrow(float value, float* to) { *to = value; }
static inline void narrow(double value, double* to) { *to = value; }
// Round to nearest even; a NaN stays a (quiet) NaN.
static inline void narrow(float value, BFloat16* to) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to->bits = value != value ? uint16_t((bits >> 16) | 0x40u) : uint16_t(rounded);
}

template <class T>
struct Accumulate {
  typedef T type;
};
template <>
struct Accumulate<BFloat16> {
  typedef float type;
};

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
static inline int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

// One element (all lanes of a channel group) of a packed panel.
template <class T, class Acc>
static inline void pack_element(const T* from, const Acc* mask, int64_t channels, Acc* to) {
  constexpr int width = Vector<Acc>::width;
  if (mask != nullptr && *mask == Acc(0)) {
    for (int lane = 0; lane < width; ++lane) to[lane] = Acc(0);
    return;
  }
  const Acc scale = mask != nullptr ? *mask : Acc(1);
  if (channels == width) {
    for (int lane = 0; lane < width; ++lane) to[lane] = widen(from[lane]) * scale;
  } else {
    for (int lane = 0; lane < width; ++lane)
      to[lane] = lane < channels ? widen(from[lane]) * scale : Acc(0);
  }
}

// Packs `rows` rows (padded with zeros to whole panels of `panel` rows) and `terms` terms of the
// sum as [panel][term][row in panel][lane].
template <class T, class Acc, int panel>
static void pack(const atmos_tc_input& input, int64_t batch, int64_t first_row, int64_t rows,
                 int64_t first_term, int64_t terms, int64_t first_channel, int64_t channels,
                 Acc* to) {
  constexpr int width = Vector<Acc>::width;
  const T* data = static_cast<const T*>(input.data) + batch * input.batch_stride +
                  first_row * input.row_stride + first_term * input.sum_stride + first_channel;
  const Acc* mask = static_cast<const Acc*>(input.mask);
  if (mask != nullptr)
    mask += batch * input.mask_batch_stride + first_row * input.mask_row_stride +
            first_term * input.mask_sum_stride;
  for (int64_t base = 0; base < rows; base += panel) {
    for (int64_t term = 0; term < terms; ++term) {
      for (int row = 0; row < panel; ++row, to += width) {
        if (base + row >= rows) {
          for (int lane = 0; lane < width; ++lane) to[lane] = Acc(0);
          continue;
        }
        const T* from = data + (base + row) * input.row_stride + term * input.sum_stride;
        const Acc* element_mask =
            mask == nullptr ? nullptr
                            : mask + (base + row) * input.mask_row_stride +
                                  term * input.mask_sum_stride;
        pack_element<T, Acc>(from, element_mask, channels, to);
      }
    }
  }
}

// One register tile over one block of the sum. Starts from zero or from what `out` holds.
// Only `rows` x `columns` of the tile are stored.
template <class Acc>
static inline __attribute__((always_inline)) void tile(
    int64_t terms, const Acc* x, const Acc* y, Acc* out, int64_t row_stride,
    int64_t column_stride, bool add, int rows, int columns) {
  typedef typename Vector<Acc>::type Vec;
  constexpr int width = Vector<Acc>::width;
  Vec sum[kTileRows][kTileColumns];
  const bool whole = rows == kTileRows && columns == kTileColumns;
  // Tiles of the output lie apart in memory; ask for them while the sum runs.
  if (add && whole) {
#pragma GCC unroll 8
    for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < kTileColumns; ++q)
        __builtin_prefetch(out + p * row_stride + q * column_stride, 1);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < kTileColumns; ++q) sum[p][q] = Vec{};
  for (int64_t term = 0; term < terms; ++term) {
    Vec columns_of_y[kTileColumns];
#pragma GCC unroll 8
    for (int q = 0; q < kTileColumns; ++q)
      columns_of_y[q] = *reinterpret_cast<const Vec*>(y + q * width);
#pragma GCC unroll 8
    for (int p = 0; p < kTileRows; ++p) {
      const Vec row_of_x = *reinterpret_cast<const Vec*>(x + p * width);
#pragma GCC unroll 8
      for (int q = 0; q < kTileColumns; ++q) sum[p][q] += row_of_x * columns_of_y[q];
    }
    x += kTileRows * width;
    y += kTileColumns * width;
  }
  if (whole) {
#pragma GCC unroll 8
    for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < kTileColumns; ++q) {
        Vec* to = reinterpret_cast<Vec*>(out + p * row_stride + q * column_stride);
        *to = add ? *to + sum[p][q] : sum[p][q];
      }
  } else {
#pragma GCC unroll 8
    for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
      for (int q = 0; q < kTileColumns; ++q)
        if (p < rows && q < columns) {
          Vec* to = reinterpret_cast<Vec*>(out + p * row_stride + q * column_stride);
          *to = add ? *to + sum[p][q] : sum[p][q];
        }
  }
}

// Rounds and masks a finished range of rows from the scratch sums into the output.
template <class T, class Acc>
static void store(const atmos_tc_output& output, int64_t batch, int64_t first_row, int64_t rows,
                  int64_t size, int64_t first_channel, int64_t channels, const Acc* from,
                  int64_t from_row_stride, int64_t from_column_stride) {
  T* data = static_cast<T*>(output.data) + batch * output.batch_stride +
            first_row * output.row_stride + first_channel;
  const Acc* mask = static_cast<const Acc*>(output.mask);
  if (mask != nullptr)
    mask += batch * output.mask_batch_stride + first_row * output.mask_row_stride;
  for (int64_t p = 0; p < rows; ++p) {
    for (int64_t q = 0; q < size; ++q) {
      T* to = data + p * output.row_stride + q * output.column_stride;
      const Acc* value = from + p * from_row_stride + q * from_column_stride;
      const Acc scale = mask == nullptr ? Acc(1)
                                        : mask[p * output.mask_row_stride +
                                               q * output.mask_column_stride];
      if (scale == Acc(0))
        for (int64_t lane = 0; lane < channels; ++lane) narrow(Acc(0), to + lane);
      else
        for (int64_t lane = 0; lane < channels; ++lane) narrow(value[lane] * scale, to + lane);
    }
  }
}

template <class T>
struct Kernel {
  typedef typename Accumulate<T>::type Acc;
  static constexpr int width = Vector<Acc>::width;
  // A type that is accumulated in itself can sum in the output; the others need scratch.
  static constexpr bool in_place = sizeof(T) == sizeof(Acc);

  static int64_t packed_x_bytes(int64_t rows) {
    return round_up(round_up(rows, kTileRows) * kSumBlock * width * int64_t(sizeof(Acc)), kAlign);
  }
  static int64_t packed_y_bytes() {
    return round_up(kTileColumns * kSumBlock * width * int64_t(sizeof(Acc)), kAlign);
  }

  static bool needs_scratch(const atmos_tc_problem& problem) {
    return !in_place || problem.out.mask != nullptr || problem.channels % width != 0;
  }

  static atmos_tc_cpu_plan plan(const atmos_tc_problem& problem, int64_t max_rows) {
    atmos_tc_cpu_plan plan;
    if (max_rows <= 0) max_rows = kDefaultRows;
    const int64_t blocks = divide_up(problem.size, max_rows);
    plan.rows = blocks > 0 ? round_up(divide_up(problem.size, blocks), kTileRows) : 0;
    plan.row_blocks = plan.rows > 0 ? divide_up(problem.size, plan.rows) : 0;
    plan.channel_groups = divide_up(problem.channels, width);
    plan.units = problem.batch * plan.channel_groups * plan.row_blocks;
    plan.workspace_bytes = packed_x_bytes(plan.rows) + packed_y_bytes();
    if (needs_scratch(problem))
      plan.workspace_bytes += plan.rows * problem.size * width * int64_t(sizeof(Acc));
    return plan;
  }

  static void unit(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan, int64_t index,
                   char* workspace) {
    const int64_t size = problem.size;
    const int64_t row_block = index % plan.row_blocks;
    const int64_t group = (index / plan.row_blocks) % plan.channel_groups;
    const int64_t batch = index / plan.row_blocks / plan.channel_groups;
    const int64_t first_row = row_block * plan.rows;
    const int64_t rows = minimum(plan.rows, size - first_row);
    const int64_t first_channel = group * width;
    const int64_t channels = minimum(width, problem.channels - first_channel);

    Acc* packed_x = reinterpret_cast<Acc*>(workspace);
    Acc* packed_y = reinterpret_cast<Acc*>(workspace + packed_x_bytes(plan.rows));
    const bool scratch = needs_scratch(problem);
    Acc* sums;
    int64_t row_stride, column_stride;
    if (scratch) {
      sums = reinterpret_cast<Acc*>(workspace + packed_x_bytes(plan.rows) + packed_y_bytes());
      row_stride = size * width;
      column_stride = width;
    } else {
      sums = static_cast<Acc*>(problem.out.data) + batch * problem.out.batch_stride +
             first_row * problem.out.row_stride + first_channel;
      row_stride = problem.out.row_stride;
      column_stride = problem.out.column_stride;
    }

    // Blocks of nearly equal length, set by the size alone: the order of each sum is fixed.
    const int64_t blocks = divide_up(size, kSumBlock);
    const int64_t block_terms = divide_up(size, blocks);
    for (int64_t first = 0; first < size; first += block_terms) {
      const int64_t terms = minimum(block_terms, size - first);
      pack<T, Acc, kTileRows>(problem.x, batch, first_row, rows, first, terms, first_channel,
                              channels, packed_x);
      for (int64_t q = 0; q < size; q += kTileColumns) {
        const int columns = int(minimum(kTileColumns, size - q));
        pack<T, Acc, kTileColumns>(problem.y, batch, q, columns, first, terms, first_channel,
                                   channels, packed_y);
        for (int64_t p = 0; p < rows; p += kTileRows) {
          tile<Acc>(terms, packed_x + p * terms * width, packed_y,
                    sums + p * row_stride + q * column_stride, row_stride, column_stride,
                    first > 0, int(minimum(kTileRows, rows - p)), columns);
        }
      }
    }
    if (scratch)
      store<T, Acc>(problem.out, batch, first_row, rows, size, first_channel, channels, sums,
                    row_stride, column_stride);
  }

  static void run(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan, int64_t begin,
                  int64_t end, char* workspace) {
    for (int64_t index = begin; index < end; ++index) unit(problem, plan, index, workspace);
  }
};

atmos_tc_cpu_plan make_plan(const atmos_tc_problem& problem, int64_t max_rows) {
  switch (problem.dtype) {
    case ATMOS_TC_F64: return Kernel<double>::plan(problem, max_rows);
    case ATMOS_TC_BF16: return Kernel<BFloat16>::plan(problem, max_rows);
    default: return Kernel<float>::plan(problem, max_rows);
  }
}

void run(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan, int64_t begin,
         int64_t end, void* workspace) {
  char* bytes = static_cast<char*>(workspace);
  switch (problem.dtype) {
    case ATMOS_TC_F64: return Kernel<double>::run(problem, plan, begin, end, bytes);
    case ATMOS_TC_BF16: return Kernel<BFloat16>::run(problem, plan, begin, end, bytes);
    default: return Kernel<float>::run(problem, plan, begin, end, bytes);
  }
}

}  // namespace ATMOS_ISA
}  // namespace atmos_tc
