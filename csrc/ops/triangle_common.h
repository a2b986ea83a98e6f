// What the backends of atmos::triangle_contraction share: the checks of the arguments and the
// translation of tensors into the problems that the kernels solve.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "kernels/triangle_contraction.h"

namespace atmos {

using at::Tensor;

// Raises unless a and b are [B, N, N, C] of one supported dtype, mask is [B, N, N] and all are on
// one device. Works on symbolic sizes.
void check_triangle_arguments(const Tensor& a, const Tensor& b, const Tensor& mask);

// Raises unless grad has the shape, dtype and device of a.
void check_triangle_gradient(const Tensor& grad, const Tensor& a);

// Tensors as the kernels want them: channels contiguous, the mask in the accumulation type.
// Pair and batch strides are kept as they are.
inline Tensor with_contiguous_channels(const Tensor& tensor) {
  return tensor.stride(3) == 1 || tensor.size(3) == 1 ? tensor : tensor.contiguous();
}
inline Tensor mask_for_kernel(const Tensor& mask, at::ScalarType dtype) {
  return mask.to(dtype == at::kDouble ? at::kDouble : at::kFloat);
}

// Problems over prepared tensors. Outputs are contiguous and of the dtype of a.
atmos_tc_problem forward_problem(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool outgoing, const Tensor& out);
atmos_tc_problem gradient_a_problem(const Tensor& grad, const Tensor& b, const Tensor& mask,
                                    bool outgoing, const Tensor& grad_a);
atmos_tc_problem gradient_b_problem(const Tensor& grad, const Tensor& a, const Tensor& mask,
                                    bool outgoing, const Tensor& grad_b);

// The registered operators, called through the dispatcher.
Tensor call_triangle_contraction(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool outgoing);
std::tuple<Tensor, Tensor> call_triangle_contraction_backward(const Tensor& grad, const Tensor& a,
                                                              const Tensor& b, const Tensor& mask,
                                                              bool outgoing);

}  // namespace atmos
