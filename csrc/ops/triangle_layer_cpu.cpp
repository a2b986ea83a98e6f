// CPU backend of the triangle multiplicative update.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include "triangle_layer_cpu_steps.h"

namespace atmos {
namespace {

TriangleForward forward_cpu(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                            bool outgoing, bool residual, double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, residual, epsilon};
  check_triangle_layer(z, mask, parameters);
  if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
    return reference_forward(z, mask, parameters, settings);
  const at::AutoDispatchBelowADInplaceOrView below;
  return cpu_layer::CpuLayer(z, mask, parameters, settings).forward();
}

Tensor update_cpu(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                  bool residual, double epsilon) {
  return std::get<0>(
      forward_cpu(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual, epsilon));
}

void add_cpu(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
             double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, true, epsilon};
  check_triangle_layer(z, mask, parameters);
  const bool kernel = triangle_route(z, parameters.hidden()) == TriangleRoute::kKernel;
  const at::AutoDispatchBelowADInplaceOrView below;
  if (kernel && z.is_contiguous())
    cpu_layer::CpuLayer(z, mask, parameters, settings).add_to(z);
  else
    z.copy_(update_cpu(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, true, epsilon));
}

TriangleBackward backward_cpu(const Tensor& grad, const Tensor& z, const Tensor& mask,
                              const Tensor& x, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                              bool residual, double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, residual, epsilon};
  check_triangle_layer(z, mask, parameters);
  check_triangle_layer_gradient(grad, x, z, parameters);
  if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
    return reference_backward(grad, z, mask, x, parameters, settings);
  const at::AutoDispatchBelowADInplaceOrView below;
  return cpu_layer::CpuLayer(z, mask, parameters, settings).backward(grad, x);
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, CPU, m) {
  m.impl("triangle_multiplication", TORCH_FN(atmos::update_cpu));
  m.impl("triangle_multiplication_", TORCH_FN(atmos::add_cpu));
  m.impl("triangle_multiplication_forward", TORCH_FN(atmos::forward_cpu));
  m.impl("triangle_multiplication_backward", TORCH_FN(atmos::backward_cpu));
}
