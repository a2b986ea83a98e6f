// The triangle multiplicative update on a CUDA device, as a sequence of steps: what is allocated,
// which kernel and which product comes when. Knows the device only through the tensors, the stream
// and the table of functions, so that a test can run it with emulated kernels.
#pragma once

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "cuda_library.h"
#include "triangle.h"

namespace atmos {
namespace cuda {

// Rows of planes start at multiples of this many elements: 16 bytes of bfloat16, which cuBLAS wants
// for its fast kernels.
constexpr int64_t kRowStep = 8;
constexpr uintptr_t kAlignment = 16;

class CudaLayer {
 public:
  CudaLayer(const CudaFunctions& functions, void* stream, const Tensor& z, const Tensor& mask,
            const TriangleParameters& p, const TriangleSettings& settings)
      : functions_(functions),
        stream_(stream),
        parameters_(p),
        settings_(settings),
        dtype_(z.scalar_type()),
        batch_(z.size(0)),
        size_(z.size(1)),
        channels_(z.size(3)),
        hidden_(p.hidden()),
        row_stride_((size_ + kRowStep - 1) / kRowStep * kRowStep),
        z_(with_contiguous_channels(z)),
        mask_(mask_for_kernel(mask, dtype_)),
        nodes_(sums({batch_, size_})),
        weights_{matrix(p.linear_a_g), matrix(p.linear_a_p), matrix(p.linear_b_g),
                 matrix(p.linear_b_p), matrix(p.linear_g),   matrix(p.linear_z)},
        norms_{vector(p.norm_in_weight), vector(p.norm_in_bias), vector(p.norm_out_weight),
               vector(p.norm_out_bias)} {
    problem_.dtype = dtype_ == at::kBFloat16 ? ATMOS_BF16 : ATMOS_F32;
    problem_.batch = batch_;
    problem_.size = size_;
    problem_.channels = channels_;
    problem_.hidden = hidden_;
    problem_.epsilon = static_cast<float>(settings.epsilon);
    problem_.residual = settings.residual ? 1 : 0;
    problem_.z = pairs(z_);
    problem_.mask = pairs(mask_);
    problem_.nodes = nodes_.const_data_ptr<float>();
    problem_.gate_a = weights_[0].const_data_ptr();
    problem_.value_a = weights_[1].const_data_ptr();
    problem_.gate_b = weights_[2].const_data_ptr();
    problem_.value_b = weights_[3].const_data_ptr();
    problem_.gate = weights_[4].const_data_ptr();
    problem_.value = weights_[5].const_data_ptr();
    problem_.norm_in_weight = norms_[0].const_data_ptr<float>();
    problem_.norm_in_bias = norms_[1].const_data_ptr<float>();
    problem_.norm_out_weight = norms_[2].const_data_ptr<float>();
    problem_.norm_out_bias = norms_[3].const_data_ptr<float>();
    problem_.row_stride = row_stride_;
    problem_.plane_stride = size_ * row_stride_;
    check(functions_.nodes(&problem_, settings.outgoing ? 1 : 0,
                           nodes_.mutable_data_ptr<float>(), stream_));
  }

  TriangleForward forward() const {
    const Tensor x = contracted();
    const Tensor out = rows({batch_, size_, size_, channels_});
    check(functions_.finish(&problem_, x.const_data_ptr(), out.mutable_data_ptr(), stream_));
    return {out, matrices(x).view({batch_, hidden_, size_, size_}).contiguous()};
  }

  // The update added to `z`, which is contiguous. A block reads its rows before it writes them.
  void add_to(const Tensor& z) const {
    check(functions_.finish(&problem_, contracted().const_data_ptr(), z.mutable_data_ptr(),
                            stream_));
  }

  TriangleBackward backward(const Tensor& grad, const Tensor& x_given) const {
    const Tensor given = with_contiguous_channels(grad);
    const atmos_tl_pairs grad_pairs = pairs(given);
    const Tensor x = padded(x_given);
    const int64_t all = batch_ * size_ * size_;
    const atmos_tl_plan plan = functions_.plan(&problem_);

    const Tensor grad_gate = rows({all, channels_});
    Tensor grad_value = rows({all, channels_});
    const Tensor parts = sums({plan.tiles, 2, hidden_});
    Tensor grad_x = planes();
    check(functions_.output_backward(&problem_, &grad_pairs, x.const_data_ptr(),
                                     grad_gate.mutable_data_ptr(), grad_value.mutable_data_ptr(),
                                     grad_x.mutable_data_ptr(), parts.mutable_data_ptr<float>(),
                                     stream_));
    const Tensor norm_out = folded(parts);
    const Tensor linear_z = weight_gradient(plan, &x, grad_value, hidden_);
    grad_value.reset();
    const Tensor linear_g = weight_gradient(plan, nullptr, grad_gate, channels_);

    // x = a b^T: da = dx b, db = dx^T a.  x = a^T b: da = b dx^T, db = a dx.
    Tensor grad_a = planes(), grad_b = planes();
    {
      const Tensor a = planes(), b = planes();
      check(functions_.project(&problem_, a.mutable_data_ptr(), b.mutable_data_ptr(), stream_));
      if (settings_.outgoing) {
        multiply(grad_x, false, b, false, grad_a);
        multiply(grad_x, true, a, false, grad_b);
      } else {
        multiply(b, false, grad_x, true, grad_a);
        multiply(a, false, grad_x, false, grad_b);
      }
      grad_x.reset();
    }
    const Tensor products = rows({all, 4 * hidden_});
    const Tensor in_parts = sums({plan.tiles, 2, channels_});
    Tensor grad_z = rows({batch_, size_, size_, channels_});
    check(functions_.input_backward(&problem_, &grad_pairs, grad_a.const_data_ptr(),
                                    grad_b.const_data_ptr(), grad_gate.const_data_ptr(),
                                    products.mutable_data_ptr(), grad_z.mutable_data_ptr(),
                                    in_parts.mutable_data_ptr<float>(), stream_));
    const Tensor norm_in = folded(in_parts);
    const Tensor gated = weight_gradient(plan, nullptr, products, channels_);

    const TriangleParameters& p = parameters_;
    const auto part = [&](int64_t index, const Tensor& parameter) {
      return as_parameter(gated.narrow(0, index * hidden_, hidden_), parameter);
    };
    return {grad_z,
            as_parameter(norm_in[0], p.norm_in_weight),
            as_parameter(norm_in[1], p.norm_in_bias),
            as_parameter(norm_out[0], p.norm_out_weight),
            as_parameter(norm_out[1], p.norm_out_bias),
            part(1, p.linear_a_p),
            part(0, p.linear_a_g),
            part(3, p.linear_b_p),
            part(2, p.linear_b_g),
            as_parameter(linear_g, p.linear_g),
            as_parameter(linear_z, p.linear_z)};
  }

 private:
  // The contraction of a and b.
  Tensor contracted() const {
    Tensor x = planes();
    {
      const Tensor a = planes(), b = planes();
      check(functions_.project(&problem_, a.mutable_data_ptr(), b.mutable_data_ptr(), stream_));
      if (settings_.outgoing)
        multiply(a, false, b, true, x);
      else
        multiply(a, true, b, false, x);
    }
    return x;
  }

  void check(int error) const {
    TORCH_CHECK(error == 0, "atmos::triangle_multiplication: CUDA error ", error, " on ",
                z_.device(), ": ", functions_.error_string(error), ".");
  }

  Tensor matrix(const Tensor& parameter) const {
    const Tensor ready = parameter.to(dtype_).contiguous();
    const bool aligned = reinterpret_cast<uintptr_t>(ready.const_data_ptr()) % kAlignment == 0;
    return aligned ? ready : ready.clone();
  }
  static Tensor vector(const Tensor& parameter) { return parameter.to(at::kFloat).contiguous(); }
  static atmos_tl_pairs pairs(const Tensor& tensor) {
    return {tensor.const_data_ptr(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
  }

  Tensor planes() const {
    return at::empty({batch_, hidden_, size_, row_stride_}, z_.options());
  }
  Tensor rows(at::IntArrayRef sizes) const { return at::empty(sizes, z_.options()); }
  Tensor sums(at::IntArrayRef sizes) const {
    return at::empty(sizes, z_.options().dtype(at::kFloat));
  }
  Tensor padded(const Tensor& x) const {
    if (row_stride_ == size_) return x.contiguous();
    Tensor result = planes();
    result.narrow(3, 0, size_).copy_(x);
    return result;
  }

  // Planes as a batch of square matrices, without the padding of their rows.
  Tensor matrices(const Tensor& planes) const {
    return planes.view({batch_ * hidden_, size_, row_stride_}).narrow(2, 0, size_);
  }
  void multiply(const Tensor& left, bool turn_left, const Tensor& right, bool turn_right,
                const Tensor& out) const {
    Tensor to = matrices(out);
    const Tensor l = matrices(left), r = matrices(right);
    at::bmm_out(to, turn_left ? l.transpose(1, 2) : l, turn_right ? r.transpose(1, 2) : r);
  }

  // The sum over the first dimension, in its order.
  Tensor folded(const Tensor& parts) const {
    const int64_t count = parts.size(0), width = parts.numel() / count;
    const Tensor out = sums(parts.sizes().slice(1));
    const Tensor scratch = sums({2 * ((count + 63) / 64), width});
    check(functions_.sum(parts.const_data_ptr<float>(), count, width,
                         scratch.mutable_data_ptr<float>(), out.mutable_data_ptr<float>(),
                         stream_));
    return out;
  }

  Tensor weight_gradient(const atmos_tl_plan& plan, const Tensor* x, const Tensor& grads,
                         int64_t terms) const {
    const Tensor parts = sums({plan.splits, grads.size(1), terms});
    check(functions_.weight_gradient(&problem_, x == nullptr ? nullptr : x->const_data_ptr(),
                                     grads.const_data_ptr(), grads.size(1),
                                     parts.mutable_data_ptr<float>(), stream_));
    return folded(parts);
  }

  const CudaFunctions& functions_;
  void* const stream_;
  const TriangleParameters& parameters_;
  const TriangleSettings settings_;
  const at::ScalarType dtype_;
  const int64_t batch_, size_, channels_, hidden_, row_stride_;
  const Tensor z_, mask_, nodes_;
  const std::array<Tensor, 6> weights_;
  const std::array<Tensor, 4> norms_;
  atmos_tl_problem problem_{};
};

}  // namespace cuda
}  // namespace atmos
