// Bodies of the functions of triangle_rows_cpu.h. Included once per instruction set, by a
// translation unit that defines ATMOS_ISA and ATMOS_VECTOR_BYTES. One vector holds neighbouring
// channels of a row; squares of vectors are transposed on the way to and from planes.
#include "cpu_vectors.h"
#include "triangle_rows_cpu.h"

namespace atmos_tr {
namespace ATMOS_ISA {

using namespace atmos_cpu::ATMOS_ISA;

template <class T>
struct Rows {
  typedef typename Accumulate<T>::type Acc;
  typedef typename Vector<Acc>::type Vec;
  static constexpr int width = Vector<Acc>::width;

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

  // The pairs of a block in turn.
  struct Walk {
    int64_t i, j, size;
    explicit Walk(const atmos_tr_block& block)
        : i(block.first / block.size), j(block.first % block.size), size(block.size) {}
    void next() {
      if (++j == size) {
        j = 0;
        ++i;
      }
    }
    const T* in(const atmos_tr_pairs& pairs) const {
      return static_cast<const T*>(pairs.data) + i * pairs.i_stride + j * pairs.j_stride;
    }
  };

  static void masks(const atmos_tr_block* block, const void* mask, int64_t i_stride,
                    int64_t j_stride, const void* nodes, const atmos_tr_masks* to) {
    Walk walk(*block);
    const Acc* exists = static_cast<const Acc*>(nodes);
    for (int64_t row = 0; row < block->count; ++row, walk.next()) {
      const Acc factor = static_cast<const Acc*>(mask)[walk.i * i_stride + walk.j * j_stride];
      const bool updated = exists[walk.i] != Acc(0) && exists[walk.j] != Acc(0);
      static_cast<Acc*>(to->factor)[row] = factor;
      static_cast<Acc*>(to->updated)[row] = Acc(updated);
      static_cast<Acc*>(to->read)[row] = Acc(updated || factor != Acc(0));
    }
  }

  static void fill_zero(Acc* to, int64_t count) {
    memset(to, 0, static_cast<size_t>(count) * sizeof(Acc));
  }

  // One row: mean and variance in two passes, then scale and offset. `keep`: null, or where the
  // widened input goes.
  template <class From>
  static void norm_row(const From* from, const atmos_tr_norm& norm, Acc* keep, Acc* to, Acc* mean,
                       Acc* scale) {
    const int64_t channels = norm.channels;
    const Acc* weight = static_cast<const Acc*>(norm.weight);
    const Acc* bias = static_cast<const Acc*>(norm.bias);
    // The output holds the input meanwhile.
    Vec total = {};
    int64_t c = 0;
    for (; c < channels; c += width) {
      const int64_t lanes = least(width, channels - c);
      const Vec value = load(from + c, lanes);
      total += value;
      store(value, to + c, lanes);
      if (keep != nullptr) store(value, keep + c, lanes);
    }
    const Acc middle = sum_lanes<Acc>(total) / Acc(channels);
    Vec squares = {};
    for (c = 0; c + width <= channels; c += width) {
      const Vec off = load(to + c) - middle;
      squares += off * off;
    }
    for (int64_t lane = 0; c + lane < channels; ++lane) {
      const Acc off = to[c + lane] - middle;
      squares[lane] += off * off;
    }
    const Acc variance = sum_lanes<Acc>(squares) / Acc(channels);
    const Acc factor = Acc(1) / Acc(sqrt(double(variance + Acc(norm.epsilon))));
    for (c = 0; c < channels; c += width) {
      const int64_t lanes = least(width, channels - c);
      const Vec value = (load(to + c, lanes) - middle) * factor;
      store(value * load(weight + c, lanes) + load(bias + c, lanes), to + c, lanes);
    }
    *mean = middle;
    *scale = factor;
  }

  static void masked_row(int64_t channels, Acc* keep, Acc* to, Acc* mean, Acc* scale) {
    if (keep != nullptr) fill_zero(keep, channels);
    fill_zero(to, channels);
    *mean = *scale = Acc(0);
  }

  static void norm_pairs(const atmos_tr_block* block, const void* mask, const atmos_tr_pairs* from,
                         const atmos_tr_norm* norm, const atmos_tr_normed* to) {
    const int64_t channels = norm->channels;
    Walk walk(*block);
    Acc* keep = static_cast<Acc*>(to->input);
    Acc* out = static_cast<Acc*>(to->output);
    for (int64_t row = 0; row < block->count; ++row, walk.next(), out += channels) {
      Acc* mean = static_cast<Acc*>(to->mean) + row;
      Acc* scale = static_cast<Acc*>(to->scale) + row;
      if (static_cast<const Acc*>(mask)[row] == Acc(0))
        masked_row(channels, keep, out, mean, scale);
      else
        norm_row(walk.in(*from), *norm, keep, out, mean, scale);
      if (keep != nullptr) keep += channels;
    }
  }

  // A square of vectors from planes, as rows. `rows` and `channels` of it exist.
  static void from_plane_square(const T* planes, int64_t plane, int64_t rows, int64_t channels,
                                Vec (&square)[width]) {
    for (int c = 0; c < width; ++c)
      square[c] = c < channels ? load(planes + c * plane, rows) : Vec{};
    transpose<Acc>(square);
  }

  // The same back; `square` holds rows.
  static void to_plane_square(Vec (&square)[width], int64_t plane, int64_t rows, int64_t channels,
                              T* planes) {
    transpose<Acc>(square);
    for (int c = 0; c < width && c < channels; ++c) store(square[c], planes + c * plane, rows);
  }

  static void norm_planes(const atmos_tr_block* block, const void* mask, const void* planes,
                          int64_t plane, const atmos_tr_norm* norm, const atmos_tr_normed* to) {
    const int64_t channels = norm->channels;
    Acc* const keep = static_cast<Acc*>(to->input);
    Acc* out = static_cast<Acc*>(to->output);
    for (int64_t c = 0; c < channels; c += width) {
      const int64_t lanes = least(width, channels - c);
      const T* from = static_cast<const T*>(planes) + c * plane + block->first;
      for (int64_t row = 0; row < block->count; row += width) {
        const int64_t rows = least(width, block->count - row);
        Vec square[width];
        from_plane_square(from + row, plane, rows, lanes, square);
        for (int64_t r = 0; r < rows; ++r) store(square[r], out + (row + r) * channels + c, lanes);
      }
    }
    for (int64_t row = 0; row < block->count; ++row, out += channels) {
      Acc* kept = keep == nullptr ? nullptr : keep + row * channels;
      Acc* mean = static_cast<Acc*>(to->mean) + row;
      Acc* scale = static_cast<Acc*>(to->scale) + row;
      if (static_cast<const Acc*>(mask)[row] == Acc(0))
        masked_row(channels, kept, out, mean, scale);
      else
        norm_row<Acc>(out, *norm, kept, out, mean, scale);
    }
  }

  static void gate(const atmos_tr_block* block, const void* mask, const void* products,
                   int64_t hidden, void* a, void* b, int64_t plane, void* gate_a, void* gate_b) {
    T* const planes[2] = {static_cast<T*>(a), static_cast<T*>(b)};
    T* const gates[2] = {static_cast<T*>(gate_a), static_cast<T*>(gate_b)};
    const Acc* const row_mask = static_cast<const Acc*>(mask);
    for (int side = 0; side < 2; ++side) {
      for (int64_t c = 0; c < hidden; c += width) {
        const int64_t lanes = least(width, hidden - c);
        const Acc* from = static_cast<const Acc*>(products) + side * 2 * hidden + c;
        T* const to = planes[side] + c * plane + block->first;
        T* const gate_rows =
            gates[side] == nullptr ? nullptr : gates[side] + block->first * hidden + c;
        for (int64_t row = 0; row < block->count; row += width) {
          const int64_t rows = least(width, block->count - row);
          Vec square[width];
          for (int64_t r = 0; r < width; ++r) {
            square[r] = Vec{};
            if (r >= rows) continue;
            const Acc* at = from + (row + r) * 4 * hidden;
            const Vec factor = sigmoid(load(at, lanes));
            if (gate_rows != nullptr) store(factor, gate_rows + (row + r) * hidden, lanes);
            if (row_mask[row + r] != Acc(0))
              square[r] = factor * load(at + hidden, lanes) * row_mask[row + r];
          }
          to_plane_square(square, plane, rows, lanes, to + row);
        }
      }
    }
  }

  static void finish(const atmos_tr_block* block, const void* mask, const void* gate,
                     const void* value, int64_t channels, const atmos_tr_pairs* z, void* out) {
    Walk walk(*block);
    const Acc* gates = static_cast<const Acc*>(gate);
    const Acc* values = static_cast<const Acc*>(value);
    T* to = static_cast<T*>(out) + block->first * channels;
    for (int64_t row = 0; row < block->count;
         ++row, walk.next(), gates += channels, values += channels, to += channels) {
      const bool exists = static_cast<const Acc*>(mask)[row] != Acc(0);
      const T* from = z == nullptr ? nullptr : walk.in(*z);
      for (int64_t c = 0; c < channels; c += width) {
        const int64_t lanes = least(width, channels - c);
        Vec result = {};
        if (exists) result = sigmoid(load(gates + c, lanes)) * load(values + c, lanes);
        if (from != nullptr) result += load(from + c, lanes);
        store(result, to + c, lanes);
      }
    }
  }

  static void finish_backward(const atmos_tr_block* block, const void* mask,
                              const atmos_tr_pairs* grad, void* gate, void* value,
                              int64_t channels) {
    Walk walk(*block);
    Acc* gates = static_cast<Acc*>(gate);
    Acc* values = static_cast<Acc*>(value);
    for (int64_t row = 0; row < block->count;
         ++row, walk.next(), gates += channels, values += channels) {
      if (static_cast<const Acc*>(mask)[row] == Acc(0)) {
        fill_zero(gates, channels);
        fill_zero(values, channels);
        continue;
      }
      const T* from = walk.in(*grad);
      for (int64_t c = 0; c < channels; c += width) {
        const int64_t lanes = least(width, channels - c);
        const Vec factor = sigmoid(load(gates + c, lanes));
        const Vec given = load(from + c, lanes) * factor;
        store(given * load(values + c, lanes) * (Acc(1) - factor), gates + c, lanes);
        store(given, values + c, lanes);
      }
    }
  }

  static void norm_backward(int64_t count, const atmos_tr_norm* norm,
                            const atmos_tr_normed* normed, void* grad, void* grad_weight,
                            void* grad_bias) {
    const int64_t channels = norm->channels;
    const Acc* weight = static_cast<const Acc*>(norm->weight);
    const Acc* input = static_cast<const Acc*>(normed->input);
    Acc* dy = static_cast<Acc*>(grad);
    Acc* dweight = static_cast<Acc*>(grad_weight);
    Acc* dbias = static_cast<Acc*>(grad_bias);
    for (int64_t row = 0; row < count; ++row, input += channels, dy += channels) {
      const Acc mean = static_cast<const Acc*>(normed->mean)[row];
      const Acc scale = static_cast<const Acc*>(normed->scale)[row];
      Vec sum = {}, product = {};
      for (int64_t c = 0; c < channels; c += width) {
        const int64_t lanes = least(width, channels - c);
        const Vec x = (load(input + c, lanes) - mean) * scale;
        const Vec given = load(dy + c, lanes);
        store(load(dbias + c, lanes) + given, dbias + c, lanes);
        store(load(dweight + c, lanes) + given * x, dweight + c, lanes);
        const Vec scaled = given * load(weight + c, lanes);
        sum += scaled;
        product += scaled * x;
      }
      const Acc share = sum_lanes<Acc>(sum) / Acc(channels);
      const Acc slope = sum_lanes<Acc>(product) / Acc(channels);
      for (int64_t c = 0; c < channels; c += width) {
        const int64_t lanes = least(width, channels - c);
        const Vec x = (load(input + c, lanes) - mean) * scale;
        const Vec scaled = load(dy + c, lanes) * load(weight + c, lanes);
        store((scaled - share - x * slope) * scale, dy + c, lanes);
      }
    }
  }

  static void gate_backward(const atmos_tr_block* block, const void* mask, int64_t hidden,
                            const void* a, const void* b, const void* grad_a, const void* grad_b,
                            int64_t plane, const void* gate_a, const void* gate_b,
                            void* products) {
    const T* const planes[2] = {static_cast<const T*>(a), static_cast<const T*>(b)};
    const T* const grads[2] = {static_cast<const T*>(grad_a), static_cast<const T*>(grad_b)};
    const T* const gates[2] = {static_cast<const T*>(gate_a), static_cast<const T*>(gate_b)};
    const Acc* const row_mask = static_cast<const Acc*>(mask);
    for (int side = 0; side < 2; ++side) {
      for (int64_t c = 0; c < hidden; c += width) {
        const int64_t lanes = least(width, hidden - c);
        Acc* const to = static_cast<Acc*>(products) + side * 2 * hidden + c;
        const T* const gate_rows = gates[side] + block->first * hidden + c;
        for (int64_t row = 0; row < block->count; row += width) {
          const int64_t rows = least(width, block->count - row);
          const int64_t corner = c * plane + block->first + row;
          Vec value[width], given[width];
          from_plane_square(planes[side] + corner, plane, rows, lanes, value);
          from_plane_square(grads[side] + corner, plane, rows, lanes, given);
          for (int64_t r = 0; r < rows; ++r) {
            const Vec factor = load(gate_rows + (row + r) * hidden, lanes);
            Vec gate_grad = {}, value_grad = {};
            if (row_mask[row + r] != Acc(0)) {
              gate_grad = given[r] * value[r] * (Acc(1) - factor);
              value_grad = given[r] * factor * row_mask[row + r];
            }
            store(gate_grad, to + (row + r) * 4 * hidden, lanes);
            store(value_grad, to + (row + r) * 4 * hidden + hidden, lanes);
          }
        }
      }
    }
  }

  static void to_planes(const atmos_tr_block* block, const void* rows, int64_t channels,
                        void* planes, int64_t plane) {
    for (int64_t c = 0; c < channels; c += width) {
      const int64_t lanes = least(width, channels - c);
      const Acc* from = static_cast<const Acc*>(rows) + c;
      T* const to = static_cast<T*>(planes) + c * plane + block->first;
      for (int64_t row = 0; row < block->count; row += width) {
        const int64_t count = least(width, block->count - row);
        Vec square[width];
        for (int64_t r = 0; r < width; ++r)
          square[r] = r < count ? load(from + (row + r) * channels, lanes) : Vec{};
        to_plane_square(square, plane, count, lanes, to + row);
      }
    }
  }

  static void to_pairs(const atmos_tr_block* block, const void* rows, int64_t channels,
                       const atmos_tr_pairs* added, void* out) {
    Walk walk(*block);
    const Acc* from = static_cast<const Acc*>(rows);
    T* to = static_cast<T*>(out) + block->first * channels;
    for (int64_t row = 0; row < block->count;
         ++row, walk.next(), from += channels, to += channels) {
      const T* more = added == nullptr ? nullptr : walk.in(*added);
      for (int64_t c = 0; c < channels; c += width) {
        const int64_t lanes = least(width, channels - c);
        Vec value = load(from + c, lanes);
        if (more != nullptr) value += load(more + c, lanes);
        store(value, to + c, lanes);
      }
    }
  }

  static void from_pairs(const atmos_tr_block* block, const void* pairs, int64_t channels,
                         void* rows) {
    widen_all(block->count * channels, static_cast<const T*>(pairs) + block->first * channels,
              rows);
  }

  static void widen_all(int64_t count, const void* from, void* to) {
    for (int64_t at = 0; at < count; at += width) {
      const int64_t lanes = least(width, count - at);
      store(load(static_cast<const T*>(from) + at, lanes), static_cast<Acc*>(to) + at, lanes);
    }
  }

  static void narrow_all(int64_t count, const void* from, void* to) {
    for (int64_t at = 0; at < count; at += width) {
      const int64_t lanes = least(width, count - at);
      store(load(static_cast<const Acc*>(from) + at, lanes), static_cast<T*>(to) + at, lanes);
    }
  }

  static const atmos_tr_functions& functions(const char* name) {
    static const atmos_tr_functions table = {
        name,          int64_t(sizeof(Acc)), masks,         norm_pairs, norm_planes, gate,
        finish,        finish_backward,      norm_backward, gate_backward, to_planes, to_pairs,
        from_pairs,    widen_all,            narrow_all};
    return table;
  }
};

const atmos_tr_functions& functions(atmos_dtype dtype, const char* name) {
  switch (dtype) {
    case ATMOS_F64: return Rows<double>::functions(name);
    case ATMOS_BF16: return Rows<BFloat16>::functions(name);
    default: return Rows<float>::functions(name);
  }
}

}  // namespace ATMOS_ISA
}  // namespace atmos_tr
