// The operators of the triangle multiplicative update on a device with kernels. Layer is what runs
// them there: made of (z, mask, parameters, settings), with forward(), add_to(z) and
// backward(grad, x).
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include "triangle.h"

namespace atmos {

template <class Layer>
struct TriangleOperators {
  static TriangleForward forward(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                                 bool outgoing, bool residual, double epsilon) {
    const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
    const TriangleSettings settings{outgoing, residual, epsilon};
    check_triangle(z, mask, parameters);
    if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
      return reference_forward(z, mask, parameters, settings);
    const at::AutoDispatchBelowADInplaceOrView below;
    return Layer(z, mask, parameters, settings).forward();
  }

  static Tensor update(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                       bool outgoing, bool residual, double epsilon) {
    return std::get<0>(
        forward(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual, epsilon));
  }

  static void add(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                  double epsilon) {
    const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
    const TriangleSettings settings{outgoing, true, epsilon};
    check_triangle(z, mask, parameters);
    const bool kernel = triangle_route(z, parameters.hidden()) == TriangleRoute::kKernel;
    const at::AutoDispatchBelowADInplaceOrView below;
    if (kernel && z.is_contiguous())
      Layer(z, mask, parameters, settings).add_to(z);
    else
      z.copy_(update(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, true, epsilon));
  }

  static TriangleBackward backward(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                   const Tensor& x, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                                   bool residual, double epsilon) {
    const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
    const TriangleSettings settings{outgoing, residual, epsilon};
    check_triangle(z, mask, parameters);
    check_triangle_gradient(grad, x, z, parameters);
    if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
      return reference_backward(grad, z, mask, x, parameters, settings);
    const at::AutoDispatchBelowADInplaceOrView below;
    return Layer(z, mask, parameters, settings).backward(grad, x);
  }

  static void implement(torch::Library& m) {
    m.impl("triangle_multiplication", TORCH_FN(update));
    m.impl("triangle_multiplication_", TORCH_FN(add));
    m.impl("triangle_multiplication_forward", TORCH_FN(forward));
    m.impl("triangle_multiplication_backward", TORCH_FN(backward));
  }
};

}  // namespace atmos
