// Body of the CPU kernel. Included once per instruction set, by a translation unit that defines
//   ATMOS_ISA           name of the namespace
//   ATMOS_VECTOR_BYTES  width of a vector register
//   ATMOS_TILE_ROWS, ATMOS_TILE_COLUMNS   register tile (rows p, columns q)
// Uses no library templates: an inline function of the standard library compiled here for AVX-512
// could be the copy that the linker keeps for the whole program.
//
// Scheme: one vector holds neighbouring channels, so the contraction is a matrix product per lane
// and needs no transposition. A unit of work is a group of channels (two cache lines of them) and a
// range of rows p. Columns of y are packed once for the unit, rows of x a sub-block at a time: mask
// applied, converted to the accumulation type, laid out in the order of use. Then, for a register
// tile of columns, the packed tile of y (first-level cache) meets the sub-block of x (second-level
// cache), block by block of the sum; the sums of the tiles wait in the first-level cache and are
// written to the output once, rounded and masked.

#include "cpu_vectors.h"
#include "triangle_contraction_cpu.h"

namespace atmos_tc {
namespace ATMOS_ISA {

constexpr int kTileRows = ATMOS_TILE_ROWS;
constexpr int kTileColumns = ATMOS_TILE_COLUMNS;
// Blocking of the sum: a packed tile of y over kInnerTerms is at most 24 KB with AVX-512, packed
// sub-blocks of x over kOuterTerms are at most 1 MB. Sums longer than kOuterTerms are continued
// through a buffer.
constexpr int64_t kInnerTerms = 64;
constexpr int64_t kOuterTerms = 256;
constexpr int64_t kSubRows = 32;
constexpr int64_t kDefaultRows = 128;
constexpr int64_t kBlockColumns = 44 * kTileColumns;
constexpr int64_t kGroupBytes = 128;
// Packing reads this many terms ahead: strides of a whole pair defeat the hardware's prefetch.
constexpr int64_t kPrefetchTerms = 8;
constexpr int64_t kAlign = 64;

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
static inline int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

// The vectors of one pair (row or column, term), `step` elements apart in the packed panels.
template <class T, class Acc>
static inline void pack_pair(const T* from, const Acc* mask, int64_t channels, int64_t step,
                             Acc* to) {
  constexpr int width = Vector<Acc>::width;
  if (mask != nullptr && *mask == Acc(0)) {
    for (; channels > 0; channels -= width, to += step)
      for (int lane = 0; lane < width; ++lane) to[lane] = Acc(0);
    return;
  }
  const Acc scale = mask != nullptr ? *mask : Acc(1);
  for (; channels >= width; channels -= width, from += width, to += step)
    for (int lane = 0; lane < width; ++lane) to[lane] = widen(from[lane]) * scale;
  if (channels > 0)
    for (int lane = 0; lane < width; ++lane)
      to[lane] = lane < channels ? widen(from[lane]) * scale : Acc(0);
}

// Packs `panel` rows (of which `rows` exist) over `terms` terms as [vector][term][row][lane],
// vectors `vector_step` elements apart.
template <class T, class Acc, int panel>
static void pack_panel(const atmos_tc_input& input, int64_t batch, int64_t first_row, int64_t rows,
                       int64_t first_term, int64_t terms, int64_t first_channel, int64_t channels,
                       int64_t vector_step, Acc* to) {
  constexpr int width = Vector<Acc>::width;
  const T* data = static_cast<const T*>(input.data) + batch * input.batch_stride +
                  first_row * input.row_stride + first_term * input.sum_stride + first_channel;
  const Acc* mask = static_cast<const Acc*>(input.mask);
  if (mask != nullptr)
    mask += batch * input.mask_batch_stride + first_row * input.mask_row_stride +
            first_term * input.mask_sum_stride;
  const int64_t last_byte = channels * int64_t(sizeof(T)) - 1;
  for (int64_t term = 0; term < terms; ++term) {
    for (int row = 0; row < panel; ++row, to += width) {
      if (row < rows) {
        const T* from = data + row * input.row_stride + term * input.sum_stride;
        const char* ahead = reinterpret_cast<const char*>(from + kPrefetchTerms * input.sum_stride);
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + last_byte);
        pack_pair<T, Acc>(from,
                          mask == nullptr ? nullptr
                                          : mask + row * input.mask_row_stride +
                                                term * input.mask_sum_stride,
                          channels, vector_step, to);
      } else {
        Acc* zero = to;
        for (int64_t left = channels; left > 0; left -= width, zero += vector_step)
          for (int lane = 0; lane < width; ++lane) zero[lane] = Acc(0);
      }
    }
  }
}

// One register tile over one block of the sum, x[term][row][lane] and y[term][column][lane].
// `sums`, [row][column][lane], is set or added to.
template <class Acc>
static inline __attribute__((always_inline)) void tile(int64_t terms, const Acc* x, const Acc* y,
                                                       Acc* sums, bool add) {
  typedef typename Vector<Acc>::type Vec;
  constexpr int width = Vector<Acc>::width;
  Vec sum[kTileRows][kTileColumns];
#pragma GCC unroll 8
  for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < kTileColumns; ++q) sum[p][q] = Vec{};
  for (int64_t term = 0; term < terms; ++term) {
    Vec column[kTileColumns];
#pragma GCC unroll 8
    for (int q = 0; q < kTileColumns; ++q)
      column[q] = *reinterpret_cast<const Vec*>(y + q * width);
#pragma GCC unroll 8
    for (int p = 0; p < kTileRows; ++p) {
      const Vec row = *reinterpret_cast<const Vec*>(x + p * width);
#pragma GCC unroll 8
      for (int q = 0; q < kTileColumns; ++q) sum[p][q] += row * column[q];
    }
    x += kTileRows * width;
    y += kTileColumns * width;
  }
#pragma GCC unroll 8
  for (int p = 0; p < kTileRows; ++p)
#pragma GCC unroll 8
    for (int q = 0; q < kTileColumns; ++q) {
      Vec* to = reinterpret_cast<Vec*>(sums + (p * kTileColumns + q) * width);
      *to = add ? *to + sum[p][q] : sum[p][q];
    }
}

template <class T>
struct Kernel {
  typedef typename Accumulate<T>::type Acc;
  static constexpr int width = Vector<Acc>::width;
  static constexpr int64_t group_channels = kGroupBytes / int64_t(sizeof(Acc));
  static constexpr int64_t group_vectors = group_channels / width;
  static constexpr int64_t tile_size = kTileRows * kTileColumns * width;

  // Blocks of nearly equal length, set by the length alone: the order of each sum is fixed.
  static int64_t even_block(int64_t length, int64_t most) {
    return length > 0 ? divide_up(length, divide_up(length, most)) : 1;
  }

  // Sizes of the workspace's parts, in elements.
  struct Sizes {
    int64_t x, y, sums, partial;
    explicit Sizes(const atmos_tc_problem& problem, int64_t rows) {
      const int64_t terms = even_block(problem.size, kOuterTerms);
      const int64_t columns = even_block(problem.size, kBlockColumns);
      x = round_up(minimum(kSubRows, rows), kTileRows) * terms * group_channels;
      y = round_up(columns, kTileColumns) * terms * group_channels;
      sums = divide_up(minimum(kSubRows, rows), kTileRows) * tile_size;
      partial = problem.size > terms ? rows * columns * group_channels : 0;
    }
  };

  static atmos_tc_cpu_plan plan(const atmos_tc_problem& problem, int64_t max_rows) {
    atmos_tc_cpu_plan plan;
    if (max_rows <= 0) max_rows = kDefaultRows;
    plan.rows = round_up(even_block(problem.size, max_rows), kTileRows);
    plan.row_blocks = divide_up(problem.size, plan.rows);
    plan.channel_groups = divide_up(problem.channels, group_channels);
    plan.units = problem.batch * plan.channel_groups * plan.row_blocks;
    const Sizes sizes(problem, plan.rows);
    plan.workspace_bytes =
        (sizes.x + sizes.y + sizes.sums + sizes.partial) * int64_t(sizeof(Acc)) + kAlign;
    return plan;
  }

  // Continues the sums of one row and vector with what earlier blocks of the sum left in
  // `partial`, then leaves them there or writes them out.
  static inline void finish(const Acc* sums, Acc* partial, bool add, bool last, const Acc* mask,
                            int64_t mask_stride, int columns, int64_t channels, T* out,
                            int64_t out_stride) {
    Acc value[width];
    for (int q = 0; q < columns; ++q, sums += width) {
      for (int lane = 0; lane < width; ++lane) value[lane] = sums[lane];
      if (add)
        for (int lane = 0; lane < width; ++lane) value[lane] += partial[lane];
      if (!last)
        for (int lane = 0; lane < width; ++lane) partial[lane] = value[lane];
      if (partial != nullptr) partial += group_channels;
      if (!last) continue;
      if (mask != nullptr) {
        const Acc scale = mask[q * mask_stride];
        if (scale == Acc(0))
          for (int lane = 0; lane < width; ++lane) value[lane] = Acc(0);
        else
          for (int lane = 0; lane < width; ++lane) value[lane] *= scale;
      }
      T* to = out + q * out_stride;
      if (channels >= width)
        for (int lane = 0; lane < width; ++lane) narrow(value[lane], to + lane);
      else
        for (int lane = 0; lane < channels; ++lane) narrow(value[lane], to + lane);
    }
  }

  static void unit(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan, int64_t index,
                   Acc* workspace) {
    const int64_t size = problem.size;
    const int64_t row_block = index % plan.row_blocks;
    const int64_t group = (index / plan.row_blocks) % plan.channel_groups;
    const int64_t batch = index / plan.row_blocks / plan.channel_groups;
    const int64_t first_row = row_block * plan.rows;
    const int64_t rows = minimum(plan.rows, size - first_row);
    const int64_t first_channel = group * group_channels;
    const int64_t channels = minimum(group_channels, problem.channels - first_channel);
    const int64_t vectors = divide_up(channels, width);

    const Sizes sizes(problem, plan.rows);
    Acc* const packed_x = workspace;
    Acc* const packed_y = packed_x + sizes.x;
    Acc* const sums = packed_y + sizes.y;
    Acc* const partial = sizes.partial > 0 ? sums + sizes.sums : nullptr;
    const int64_t most_columns = even_block(size, kBlockColumns);
    const int64_t most_outer = even_block(size, kOuterTerms);

    const atmos_tc_output& output = problem.out;
    T* const out = static_cast<T*>(output.data) + batch * output.batch_stride + first_channel;
    const Acc* out_mask = static_cast<const Acc*>(output.mask);
    if (out_mask != nullptr) out_mask += batch * output.mask_batch_stride;

    for (int64_t column = 0; column < size; column += most_columns) {
      const int64_t columns = minimum(most_columns, size - column);
      for (int64_t outer = 0; outer < size; outer += most_outer) {
        const int64_t outer_terms = minimum(most_outer, size - outer);
        const int64_t most_inner = even_block(outer_terms, kInnerTerms);
        const bool last = outer + outer_terms >= size;
        // Packed y: [tile of columns][block of the sum][vector][term][column][lane].
        for (int64_t q = 0; q < columns; q += kTileColumns)
          for (int64_t inner = 0; inner < outer_terms; inner += most_inner) {
            const int64_t terms = minimum(most_inner, outer_terms - inner);
            pack_panel<T, Acc, kTileColumns>(
                problem.y, batch, column + q, minimum(kTileColumns, columns - q), outer + inner,
                terms, first_channel, channels, terms * kTileColumns * width,
                packed_y + (q * outer_terms + inner * kTileColumns) * vectors * width);
          }
        for (int64_t sub = 0; sub < rows; sub += kSubRows) {
          const int64_t sub_rows = minimum(kSubRows, rows - sub);
          const int64_t padded_rows = round_up(sub_rows, kTileRows);
          // Packed x: [block of the sum][tile of rows][vector][term][row][lane].
          for (int64_t inner = 0; inner < outer_terms; inner += most_inner) {
            const int64_t terms = minimum(most_inner, outer_terms - inner);
            for (int64_t p = 0; p < sub_rows; p += kTileRows)
              pack_panel<T, Acc, kTileRows>(
                  problem.x, batch, first_row + sub + p, minimum(kTileRows, sub_rows - p),
                  outer + inner, terms, first_channel, channels, terms * kTileRows * width,
                  packed_x + (inner * padded_rows + p * terms) * vectors * width);
          }
          for (int64_t q = 0; q < columns; q += kTileColumns) {
            const int tile_columns = int(minimum(kTileColumns, columns - q));
            for (int64_t vector = 0; vector < vectors; ++vector) {
              for (int64_t inner = 0; inner < outer_terms; inner += most_inner) {
                const int64_t terms = minimum(most_inner, outer_terms - inner);
                const Acc* y = packed_y + ((q * outer_terms + inner * kTileColumns) * vectors +
                                           vector * terms * kTileColumns) * width;
                for (int64_t p = 0; p < sub_rows; p += kTileRows) {
                  const Acc* x = packed_x + ((inner * padded_rows + p * terms) * vectors +
                                             vector * terms * kTileRows) * width;
                  tile<Acc>(terms, x, y, sums + p / kTileRows * tile_size, inner > 0);
                }
              }
              const int64_t lanes = minimum(width, channels - vector * width);
              for (int64_t p = 0; p < sub_rows; ++p) {
                const int64_t row = first_row + sub + p;
                finish(sums + p * kTileColumns * width,
                       partial == nullptr ? nullptr
                                          : partial + ((sub + p) * columns + q) * group_channels +
                                                vector * width,
                       outer > 0, last,
                       out_mask == nullptr ? nullptr
                                           : out_mask + row * output.mask_row_stride +
                                                 (column + q) * output.mask_column_stride,
                       output.mask_column_stride, tile_columns, lanes,
                       out + row * output.row_stride + (column + q) * output.column_stride +
                           vector * width,
                       output.column_stride);
              }
            }
          }
        }
      }
    }
  }

  static void run(const atmos_tc_problem& problem, const atmos_tc_cpu_plan& plan, int64_t begin,
                  int64_t end, void* workspace) {
    for (int64_t index = begin; index < end; ++index)
      unit(problem, plan, index, static_cast<Acc*>(workspace));
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
  switch (problem.dtype) {
    case ATMOS_TC_F64: return Kernel<double>::run(problem, plan, begin, end, workspace);
    case ATMOS_TC_BF16: return Kernel<BFloat16>::run(problem, plan, begin, end, workspace);
    default: return Kernel<float>::run(problem, plan, begin, end, workspace);
  }
}

}  // namespace ATMOS_ISA
}  // namespace atmos_tc
