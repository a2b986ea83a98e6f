// The triangle multiplicative update on the CPU. The rows of z go through in blocks that stay in
// cache: the row kernels do what lies between the matrix products, which are torch's, run by the
// thread that has the block. The contraction is a product of planes, one a channel. Blocks and
// chunks depend on the shape alone and every product runs on one thread, so the bits do not depend
// on the number of threads.
#pragma once

#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "cpu_blocks.h"
#include "kernels/triangle_rows_cpu.h"
#include "triangle.h"

namespace atmos {
namespace cpu {

// Elements of one scratch row array: a handful of them, and four for the gated products, fit in the
// second-level cache.
constexpr int64_t kBlockElements = 32768;
constexpr int64_t kFewestRows = 32;
constexpr int64_t kMostRows = 256;
// Pairs whose part of the gradients of the weights is summed by one thread, at least; and most
// parts, which bound the memory.
constexpr int64_t kChunkRows = 2048;
constexpr int64_t kMostChunks = 32;
// Elements of planes that one product takes, so that small planes go several at a time.
constexpr int64_t kPlaneElements = 32768;

class CpuLayer {
 public:
  CpuLayer(const Tensor& z, const Tensor& mask, const TriangleParameters& parameters,
           const TriangleSettings& settings)
      : parameters_(parameters),
        settings_(settings),
        dtype_(z.scalar_type()),
        acc_(dtype_ == at::kDouble ? at::kDouble : at::kFloat),
        functions_(*atmos_tr_cpu_functions(kernel_dtype(dtype_))),
        batch_(z.size(0)),
        size_(z.size(1)),
        channels_(z.size(3)),
        hidden_(parameters.hidden()),
        plane_(size_ * size_),
        z_(with_contiguous_channels(z)),
        mask_(mask_for_kernel(mask, dtype_)),
        nodes_(existing_nodes(mask_, settings.outgoing)) {
    const int64_t width = std::max(channels_, hidden_);
    rows_ = std::clamp(kBlockElements / width / 16 * 16, kFewestRows, kMostRows);
    // Two blocks at least, also where one would hold a small system.
    rows_ = std::max<int64_t>(std::min(rows_, divide_up(plane_, 32) * 16), 1);
    blocks_ = divide_up(plane_, rows_);
    chunks_ = std::clamp<int64_t>(batch_ * plane_ / kChunkRows, 2, kMostChunks);
    chunks_ = std::min(chunks_, batch_ * blocks_);
    norm_in_weight_ = ready(parameters.norm_in_weight);
    norm_in_bias_ = ready(parameters.norm_in_bias);
    norm_out_weight_ = ready(parameters.norm_out_weight);
    norm_out_bias_ = ready(parameters.norm_out_bias);
    gated_ = at::cat({parameters.linear_a_g.to(acc_), parameters.linear_a_p.to(acc_),
                      parameters.linear_b_g.to(acc_), parameters.linear_b_p.to(acc_)});
    linear_g_ = ready(parameters.linear_g);
    linear_z_ = ready(parameters.linear_z);
    norm_in_ = {channels_, norm_in_weight_.const_data_ptr(), norm_in_bias_.const_data_ptr(),
                settings.epsilon};
    norm_out_ = {hidden_, norm_out_weight_.const_data_ptr(), norm_out_bias_.const_data_ptr(),
                 settings.epsilon};
  }

  TriangleForward forward() const {
    const Tensor x = contracted();
    const Tensor out = large({batch_, size_, size_, channels_});
    finish_all(x, out);
    return {out, x};
  }

  // The update added to `z`, which is contiguous. A block of rows is read before it is written.
  void add_to(const Tensor& z) const { finish_all(contracted(), z); }
  TriangleBackward backward(const Tensor& grad, const Tensor& x) const {
    Buffers all{planes(), planes(), planes(), planes(), pair_rows(hidden_), pair_rows(hidden_),
                large({batch_, size_, size_, channels_}),
                with_contiguous_channels(grad), x.contiguous()};
    Sums sums(*this);
    for_ranges(chunks_, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) output_backward(chunk, all, sums);
    });
    // x = a b^T: da = dx b, db = dx^T a.  x = a^T b: da = b dx^T, db = a dx.
    multiply_backward(all);
    for_ranges(chunks_, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) input_backward(chunk, all, sums);
    });
    return sums.result(all.grad_z);
  }

 private:
  struct Buffers {
    Tensor a, b;             // planes
    Tensor grad_a, grad_x;   // planes; grad_x becomes grad_b
    Tensor gate_a, gate_b;   // rows of sigmoids, [B, N * N, H]
    Tensor grad_z;           // [B, N, N, C]; until the end, what flows back through the output gate
    Tensor grad, x;
  };

  // Gradients of the parameters, one part a chunk, folded in the order of chunks.
  struct Sums {
    explicit Sums(const CpuLayer& layer) : owner(layer) {
      const int64_t c = layer.channels_, h = layer.hidden_, k = layer.chunks_;
      gated = layer.zeros({k, 4 * h, c});
      gate = layer.zeros({k, c, c});
      value = layer.zeros({k, c, h});
      norm_in = layer.zeros({k, 2, c});
      norm_out = layer.zeros({k, 2, h});
    }
    static Tensor folded(const Tensor& parts) {
      Tensor total = parts[0];
      for (int64_t part = 1; part < parts.size(0); ++part) total += parts[part];
      return total;
    }
    TriangleBackward result(const Tensor& grad_z) const {
      const TriangleParameters& p = owner.parameters_;
      const Tensor g = folded(gated), in = folded(norm_in), out = folded(norm_out);
      const int64_t h = owner.hidden_;
      return {grad_z,
              as_parameter(in[0], p.norm_in_weight),
              as_parameter(in[1], p.norm_in_bias),
              as_parameter(out[0], p.norm_out_weight),
              as_parameter(out[1], p.norm_out_bias),
              as_parameter(g.narrow(0, h, h), p.linear_a_p),
              as_parameter(g.narrow(0, 0, h), p.linear_a_g),
              as_parameter(g.narrow(0, 3 * h, h), p.linear_b_p),
              as_parameter(g.narrow(0, 2 * h, h), p.linear_b_g),
              as_parameter(folded(gate), p.linear_g),
              as_parameter(folded(value), p.linear_z)};
    }
    const CpuLayer& owner;
    Tensor gated, gate, value, norm_in, norm_out;
  };

  // Scratch of one thread: rows of one block, normalised.
  struct Normed {
    Normed(const CpuLayer& layer, int64_t channels, bool keep_input)
        : output(layer.empty({layer.rows_, channels})), statistics(layer.empty({2, layer.rows_})) {
      if (keep_input) input = layer.empty({layer.rows_, channels});
      view.input = keep_input ? input.mutable_data_ptr() : nullptr;
      view.output = output.mutable_data_ptr();
      view.mean = statistics.mutable_data_ptr();
      view.scale = static_cast<char*>(view.mean) + layer.rows_ * layer.functions_.accumulator_bytes;
    }
    Tensor input, output, statistics;
    atmos_tr_normed view;
  };

  Tensor ready(const Tensor& parameter) const { return parameter.to(acc_).contiguous(); }
  Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, z_.options().dtype(acc_)); }
  Tensor zeros(at::IntArrayRef sizes) const { return at::zeros(sizes, z_.options().dtype(acc_)); }
  Tensor large(at::IntArrayRef sizes) const {
    return on_large_pages(at::empty(sizes, z_.options()));
  }
  Tensor planes() const { return large({batch_, hidden_, size_, size_}); }
  Tensor pair_rows(int64_t channels) const { return large({batch_, plane_, channels}); }

  // Scratch of one thread: the masks of one block.
  struct Masks {
    explicit Masks(const CpuLayer& layer) : rows(layer.empty({3, layer.rows_})) {
      const int64_t bytes = layer.rows_ * layer.functions_.accumulator_bytes;
      char* const start = static_cast<char*>(rows.mutable_data_ptr());
      view = {start, start + bytes, start + 2 * bytes};
    }
    Tensor rows;
    atmos_tr_masks view;
  };

  // The block with this number in the batch, its system, and its masks.
  atmos_tr_block block(int64_t index, int64_t* batch, const Masks& masks) const {
    *batch = index / blocks_;
    const int64_t first = index % blocks_ * rows_;
    const atmos_tr_block result{size_, first, std::min(rows_, plane_ - first)};
    functions_.masks(&result, base(mask_, *batch), mask_.stride(1), mask_.stride(2),
                     base(nodes_, *batch), &masks.view);
    return result;
  }

  // The contraction of a and b, in the place of a.
  Tensor contracted() const {
    const Tensor a = planes(), b = planes();
    for_ranges(batch_ * blocks_, [&](int64_t begin, int64_t end) { project(begin, end, a, b); });
    multiply(a, b);
    return a;
  }

  void finish_all(const Tensor& x, const Tensor& out) const {
    for_ranges(batch_ * blocks_, [&](int64_t begin, int64_t end) { finish(begin, end, x, out); });
  }

  void project(int64_t begin, int64_t end, const Tensor& a, const Tensor& b) const {
    const Normed in(*this, channels_, false);
    const Tensor products = empty({rows_, 4 * hidden_});
    const Masks masks(*this);
    const Tensor weights = gated_.t();
    for (int64_t index = begin; index < end; ++index) {
      int64_t batch;
      const atmos_tr_block rows = block(index, &batch, masks);
      const atmos_tr_pairs from = pairs(z_, batch);
      functions_.norm_pairs(&rows, masks.view.read, &from, &norm_in_, &in.view);
      Tensor to = products.narrow(0, 0, rows.count);
      at::mm_out(to, in.output.narrow(0, 0, rows.count), weights);
      functions_.gate(&rows, masks.view.factor, products.const_data_ptr(), hidden_,
                      base(a, batch), base(b, batch), plane_, nullptr, nullptr);
    }
  }

  void finish(int64_t begin, int64_t end, const Tensor& x, const Tensor& out) const {
    const Normed in(*this, channels_, false), contracted(*this, hidden_, false);
    const Tensor gate = empty({rows_, channels_}), value = empty({rows_, channels_});
    const Tensor gate_weights = linear_g_.t(), weights = linear_z_.t();
    const Masks masks(*this);
    for (int64_t index = begin; index < end; ++index) {
      int64_t batch;
      const atmos_tr_block rows = block(index, &batch, masks);
      const atmos_tr_pairs from = pairs(z_, batch);
      functions_.norm_pairs(&rows, masks.view.read, &from, &norm_in_, &in.view);
      functions_.norm_planes(&rows, masks.view.updated, base(x, batch), plane_, &norm_out_,
                             &contracted.view);
      Tensor gate_to = gate.narrow(0, 0, rows.count), to = value.narrow(0, 0, rows.count);
      at::mm_out(gate_to, in.output.narrow(0, 0, rows.count), gate_weights);
      at::mm_out(to, contracted.output.narrow(0, 0, rows.count), weights);
      functions_.finish(&rows, masks.view.updated, gate.const_data_ptr(),
                        value.const_data_ptr(), channels_, settings_.residual ? &from : nullptr,
                        base(out, batch));
    }
  }

  // From the gradient of the output to that of x; the gated projections once more on the way.
  void output_backward(int64_t chunk, const Buffers& all, const Sums& sums) const {
    const Normed in(*this, channels_, false), contracted(*this, hidden_, true);
    const Tensor products = empty({rows_, 4 * hidden_});
    const Masks masks(*this);
    const Tensor gate = empty({rows_, channels_}), value = empty({rows_, channels_});
    const Tensor back = empty({rows_, std::max(channels_, hidden_)});
    Tensor grad_gate = sums.gate[chunk], grad_value = sums.value[chunk];
    char* norm_sums = base(sums.norm_out, chunk);
    const Tensor weights = gated_.t(), gate_weights = linear_g_.t(), value_weights = linear_z_.t();
    const int64_t last = (chunk + 1) * batch_ * blocks_ / chunks_;
    for (int64_t index = chunk * batch_ * blocks_ / chunks_; index < last; ++index) {
      int64_t batch;
      const atmos_tr_block rows = block(index, &batch, masks);
      const int64_t count = rows.count;
      const atmos_tr_pairs from = pairs(z_, batch), given = pairs(all.grad, batch);
      functions_.norm_pairs(&rows, masks.view.read, &from, &norm_in_, &in.view);
      const Tensor normed = in.output.narrow(0, 0, count);
      Tensor to = products.narrow(0, 0, count);
      at::mm_out(to, normed, weights);
      functions_.gate(&rows, masks.view.factor, products.const_data_ptr(), hidden_,
                      base(all.a, batch), base(all.b, batch), plane_,
                      base(all.gate_a, batch), base(all.gate_b, batch));

      functions_.norm_planes(&rows, masks.view.updated, base(all.x, batch), plane_, &norm_out_,
                             &contracted.view);
      const Tensor normed_x = contracted.output.narrow(0, 0, count);
      Tensor gate_rows = gate.narrow(0, 0, count), value_rows = value.narrow(0, 0, count);
      at::mm_out(gate_rows, normed, gate_weights);
      at::mm_out(value_rows, normed_x, value_weights);
      functions_.finish_backward(&rows, masks.view.updated, &given, gate.mutable_data_ptr(),
                                 value.mutable_data_ptr(), channels_);
      grad_gate.addmm_(gate_rows.t(), normed);
      grad_value.addmm_(value_rows.t(), normed_x);

      Tensor back_z = at::from_blob(back.mutable_data_ptr(), {count, channels_}, back.options());
      at::mm_out(back_z, gate_rows, linear_g_);
      functions_.to_pairs(&rows, back.const_data_ptr(), channels_, nullptr,
                          base(all.grad_z, batch));
      Tensor back_x = at::from_blob(back.mutable_data_ptr(), {count, hidden_}, back.options());
      at::mm_out(back_x, value_rows, linear_z_);
      functions_.norm_backward(count, &norm_out_, &contracted.view, back.mutable_data_ptr(),
                               norm_sums, norm_sums + hidden_ * functions_.accumulator_bytes);
      functions_.to_planes(&rows, back.const_data_ptr(), hidden_, base(all.grad_x, batch),
                           plane_);
    }
  }

  // From the gradients of a and b to that of z.
  void input_backward(int64_t chunk, const Buffers& all, const Sums& sums) const {
    const Normed in(*this, channels_, true);
    const Tensor products = empty({rows_, 4 * hidden_});
    const Masks masks(*this);
    const Tensor back = empty({rows_, channels_});
    Tensor grad_gated = sums.gated[chunk];
    char* norm_sums = base(sums.norm_in, chunk);
    const int64_t last = (chunk + 1) * batch_ * blocks_ / chunks_;
    for (int64_t index = chunk * batch_ * blocks_ / chunks_; index < last; ++index) {
      int64_t batch;
      const atmos_tr_block rows = block(index, &batch, masks);
      const atmos_tr_pairs from = pairs(z_, batch), given = pairs(all.grad, batch);
      functions_.norm_pairs(&rows, masks.view.read, &from, &norm_in_, &in.view);
      functions_.gate_backward(&rows, masks.view.factor, hidden_, base(all.a, batch),
                               base(all.b, batch), base(all.grad_a, batch),
                               base(all.grad_x, batch), plane_, base(all.gate_a, batch),
                               base(all.gate_b, batch), products.mutable_data_ptr());
      functions_.from_pairs(&rows, base(all.grad_z, batch), channels_, back.mutable_data_ptr());
      const Tensor product_rows = products.narrow(0, 0, rows.count);
      grad_gated.addmm_(product_rows.t(), in.output.narrow(0, 0, rows.count));
      back.narrow(0, 0, rows.count).addmm_(product_rows, gated_);
      functions_.norm_backward(rows.count, &norm_in_, &in.view, back.mutable_data_ptr(), norm_sums,
                               norm_sums + channels_ * functions_.accumulator_bytes);
      functions_.to_pairs(&rows, back.const_data_ptr(), channels_,
                          settings_.residual ? &given : nullptr, base(all.grad_z, batch));
    }
  }

  // A group of planes in the type of the sums: as they lie, or widened into `scratch`.
  Tensor group(const Tensor& tensor, int64_t first, int64_t count, const Tensor& scratch) const {
    char* at = static_cast<char*>(const_cast<void*>(tensor.const_data_ptr())) +
               first * plane_ * tensor.element_size();
    if (dtype_ == acc_) return at::from_blob(at, {count, size_, size_}, tensor.options());
    const Tensor wide = scratch.narrow(0, 0, count);
    functions_.widen(count * plane_, at, wide.mutable_data_ptr());
    return wide;
  }
  Tensor group_scratch(int64_t count) const {
    return dtype_ == acc_ ? Tensor() : empty({count, size_, size_});
  }
  void put(const Tensor& product, const Tensor& tensor, int64_t first) const {
    functions_.narrow(product.numel(), product.const_data_ptr(),
                      static_cast<char*>(tensor.mutable_data_ptr()) +
                          first * plane_ * tensor.element_size());
  }
  static Tensor turned(const Tensor& matrices, bool transposed) {
    return transposed ? matrices.transpose(1, 2) : matrices;
  }
  // Calls task(first, count) for groups of planes, from several threads.
  template <class Task>
  void for_groups(const Task& task) const {
    const int64_t all = batch_ * hidden_;
    const int64_t each = std::clamp<int64_t>(kPlaneElements / plane_, 1, 8);
    for_ranges(divide_up(all, each), [&](int64_t begin, int64_t end) {
      task(each, [&](const auto& of_group) {
        for (int64_t index = begin; index < end; ++index)
          of_group(index * each, std::min(each, all - index * each));
      });
    });
  }

  // x in the place of a.
  void multiply(const Tensor& a, const Tensor& b) const {
    for_groups([&](int64_t each, const auto& for_each_group) {
      const Tensor wide_a = group_scratch(each), wide_b = group_scratch(each);
      const Tensor product = empty({each, size_, size_});
      for_each_group([&](int64_t first, int64_t count) {
        Tensor to = product.narrow(0, 0, count);
        at::bmm_out(to, turned(group(a, first, count, wide_a), !settings_.outgoing),
                    turned(group(b, first, count, wide_b), settings_.outgoing));
        put(to, a, first);
      });
    });
  }

  // grad_a, and grad_b in the place of grad_x.
  void multiply_backward(const Buffers& all) const {
    for_groups([&](int64_t each, const auto& for_each_group) {
      const Tensor wide_a = group_scratch(each), wide_b = group_scratch(each);
      const Tensor wide_x = group_scratch(each), product = empty({each, size_, size_});
      for_each_group([&](int64_t first, int64_t count) {
        const Tensor x = group(all.grad_x, first, count, wide_x);
        const Tensor a = group(all.a, first, count, wide_a);
        const Tensor b = group(all.b, first, count, wide_b);
        Tensor to = product.narrow(0, 0, count);
        if (settings_.outgoing)
          at::bmm_out(to, x, b);
        else
          at::bmm_out(to, b, turned(x, true));
        put(to, all.grad_a, first);
        if (settings_.outgoing)
          at::bmm_out(to, turned(x, true), a);
        else
          at::bmm_out(to, a, x);
        put(to, all.grad_x, first);
      });
    });
  }

  const TriangleParameters& parameters_;
  const TriangleSettings settings_;
  const at::ScalarType dtype_, acc_;
  const atmos_tr_functions& functions_;
  const int64_t batch_, size_, channels_, hidden_, plane_;
  const Tensor z_, mask_, nodes_;
  Tensor norm_in_weight_, norm_in_bias_, norm_out_weight_, norm_out_bias_;
  Tensor gated_, linear_g_, linear_z_;  // gated_: [4H, C], gate and value of a, then of b
  atmos_tr_norm norm_in_, norm_out_;
  int64_t rows_, blocks_, chunks_;
};

}  // namespace cpu
}  // namespace atmos
