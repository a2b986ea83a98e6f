// CUDA backend of the triangle multiplicative update. Like that of the contraction it compiles
// against the CPU wheel of torch as well; its contraction is torch's batched product, so that
// cuBLAS comes from torch.
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include "cuda_library.h"
#include "triangle_layer.h"

namespace atmos {
namespace {

void* current_stream(const c10::Device& device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

TriangleForward forward_cuda(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                             bool outgoing, bool residual, double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, residual, epsilon};
  check_triangle_layer(z, mask, parameters);
  if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
    return reference_forward(z, mask, parameters, settings);
  const at::AutoDispatchBelowADInplaceOrView below;
  const c10::DeviceGuard guard(z.device());
  return triangle_layer_forward_steps(cuda_functions().layer, current_stream(z.device()), z, mask,
                                      parameters, settings);
}

Tensor update_cuda(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                   bool residual, double epsilon) {
  return std::get<0>(
      forward_cuda(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual, epsilon));
}

void add_cuda(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
              double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, true, epsilon};
  check_triangle_layer(z, mask, parameters);
  const bool kernel = triangle_route(z, parameters.hidden()) == TriangleRoute::kKernel;
  const at::AutoDispatchBelowADInplaceOrView below;
  const c10::DeviceGuard guard(z.device());
  if (kernel && z.is_contiguous())
    triangle_layer_add_steps(cuda_functions().layer, current_stream(z.device()), z, mask,
                             parameters, settings);
  else
    z.copy_(update_cuda(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, true, epsilon));
}

TriangleBackward backward_cuda(const Tensor& grad, const Tensor& z, const Tensor& mask,
                               const Tensor& x, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                               bool residual, double epsilon) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  const TriangleSettings settings{outgoing, residual, epsilon};
  check_triangle_layer(z, mask, parameters);
  check_triangle_layer_gradient(grad, x, z, parameters);
  if (triangle_route(z, parameters.hidden()) == TriangleRoute::kReference)
    return reference_backward(grad, z, mask, x, parameters, settings);
  const at::AutoDispatchBelowADInplaceOrView below;
  const c10::DeviceGuard guard(z.device());
  return triangle_layer_backward_steps(cuda_functions().layer, current_stream(z.device()), grad, z,
                                       mask, x, parameters, settings);
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, CUDA, m) {
  m.impl("triangle_multiplication", TORCH_FN(atmos::update_cuda));
  m.impl("triangle_multiplication_", TORCH_FN(atmos::add_cuda));
  m.impl("triangle_multiplication_forward", TORCH_FN(atmos::forward_cuda));
  m.impl("triangle_multiplication_backward", TORCH_FN(atmos::backward_cuda));
}
