// The triangle multiplicative update as a whole: what its backends share.
//
// With z [B,N,N,C], mask [B,N,N] and a hidden width H, as Protenix names the parameters
// (AlphaFold 3, Algorithms 12 and 13):
//   n = LayerNorm_in(z)
//   a = mask sigmoid(n linear_a_g^T) (n linear_a_p^T),   b likewise
//   x[i,j] = sum_k a[i,k] b[j,k]  (outgoing),   sum_k a[k,i] b[k,j]  (incoming)
//   update = sigmoid(n linear_g^T) (LayerNorm_out(x) linear_z^T)
//   out = z + update, or the update alone
// A node i whose row of the factors is masked as a whole (mask[i,k] for outgoing, mask[k,i] for
// incoming edges, zero for every k) does not exist: pairs with it get no update, exactly, and no
// gradient. Their z is not read unless their own mask is not zero.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <tuple>

namespace atmos {

using at::Tensor;

// The arguments of the operators, in the order of their schemas.
#define ATMOS_TRIANGLE_PARAMETERS                                                             \
  const Tensor &norm_in_weight, const Tensor &norm_in_bias, const Tensor &norm_out_weight,    \
      const Tensor &norm_out_bias, const Tensor &linear_a_p, const Tensor &linear_a_g,        \
      const Tensor &linear_b_p, const Tensor &linear_b_g, const Tensor &linear_g,             \
      const Tensor &linear_z
#define ATMOS_TRIANGLE_PARAMETER_NAMES                                                        \
  norm_in_weight, norm_in_bias, norm_out_weight, norm_out_bias, linear_a_p, linear_a_g,       \
      linear_b_p, linear_b_g, linear_g, linear_z

constexpr int kTriangleParameters = 10;

struct TriangleParameters {
  Tensor norm_in_weight, norm_in_bias, norm_out_weight, norm_out_bias;  // [C], [C], [H], [H]
  Tensor linear_a_p, linear_a_g, linear_b_p, linear_b_g;                // [H, C]
  Tensor linear_g, linear_z;                                            // [C, C], [C, H]

  int64_t hidden() const { return linear_a_p.size(0); }
};

struct TriangleSettings {
  bool outgoing;
  bool residual;
  double epsilon;  // of both layer norms
};

// out, and x, which the gradient needs: [B, H, N, N], contiguous, of z's dtype.
using TriangleForward = std::tuple<Tensor, Tensor>;
// Gradients of z and of the parameters in their order.
using TriangleBackward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                                    Tensor, Tensor, Tensor>;

// Raise where shapes, dtypes or devices do not fit. Work on symbolic sizes.
void check_triangle(const Tensor& z, const Tensor& mask,
                          const TriangleParameters& parameters);
void check_triangle_gradient(const Tensor& grad, const Tensor& x, const Tensor& z,
                                   const TriangleParameters& parameters);

// The dispatch rule, one for eager, TorchScript and C++: by device, dtype and widths alone, and by
// the environment variable ATMOS_KERNELS (auto, reference or strict), which is read at each call.
// Raises in strict where there is no kernel, and for another value of the variable.
enum class TriangleRoute { kKernel, kReference };
TriangleRoute triangle_route(const Tensor& z, int64_t hidden);

// The nodes that exist, [B, N]: 1, or 0; in the dtype of the mask.
inline Tensor existing_nodes(const Tensor& mask, bool outgoing) {
  return mask.ne(0).any(outgoing ? 2 : 1).to(mask.scalar_type());
}

// Tensors as the kernels want them: channels contiguous, the mask in the type of the sums.
// Pair and batch strides are kept as they are.
inline Tensor with_contiguous_channels(const Tensor& tensor) {
  return tensor.stride(3) == 1 || tensor.size(3) == 1 ? tensor : tensor.contiguous();
}
inline Tensor mask_for_kernel(const Tensor& mask, at::ScalarType dtype) {
  return mask.to(dtype == at::kDouble ? at::kDouble : at::kFloat);
}

// The gradient of a parameter as its owner has it.
inline Tensor as_parameter(const Tensor& gradient, const Tensor& parameter) {
  return gradient.to(parameter.scalar_type(), /*non_blocking=*/false, /*copy=*/true,
                     at::MemoryFormat::Contiguous);
}

// Plain operations of torch on any device: what runs where there is no kernel.
TriangleForward reference_forward(const Tensor& z, const Tensor& mask,
                                  const TriangleParameters& parameters,
                                  const TriangleSettings& settings);
TriangleBackward reference_backward(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                    const Tensor& x, const TriangleParameters& parameters,
                                    const TriangleSettings& settings);

// The registered operators, called through the dispatcher.
TriangleForward call_triangle_forward(const Tensor& z, const Tensor& mask,
                                      const TriangleParameters& parameters,
                                      const TriangleSettings& settings);
TriangleBackward call_triangle_backward(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                        const Tensor& x, const TriangleParameters& parameters,
                                        const TriangleSettings& settings);

}  // namespace atmos
