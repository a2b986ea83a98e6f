// CUDA backend. Compiles against the CPU wheel of torch as well: device and stream come through
// c10's device-independent interface, the kernels from a library opened at the first call.
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include "cuda_library.h"
#include "triangle_common.h"

namespace atmos {
namespace {

void solve(const atmos_tc_problem& problem, const c10::Device& device) {
  if (problem.batch == 0 || problem.size == 0 || problem.channels == 0) return;
  const CudaFunctions& functions = cuda_functions();
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  const int error = functions.run(&problem, stream.native_handle());
  TORCH_CHECK(error == 0, "atmos::triangle_contraction: CUDA error ", error, " on ", device, ": ",
              functions.error_string(error),
              ". The kernels are built for ", ATMOS_CUDA_ARCHITECTURES, ".");
}

Tensor triangle_contraction_cuda(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool outgoing) {
  check_triangle_arguments(a, b, mask);
  const c10::DeviceGuard guard(a.device());
  Tensor out = at::empty(a.sizes(), a.options(), at::MemoryFormat::Contiguous);
  const Tensor a_ready = with_contiguous_channels(a);
  const Tensor b_ready = with_contiguous_channels(b);
  const Tensor mask_ready = mask_for_kernel(mask, a.scalar_type());
  solve(forward_problem(a_ready, b_ready, mask_ready, outgoing, out), a.device());
  return out;
}

std::tuple<Tensor, Tensor> triangle_contraction_backward_cuda(const Tensor& grad, const Tensor& a,
                                                              const Tensor& b, const Tensor& mask,
                                                              bool outgoing) {
  check_triangle_arguments(a, b, mask);
  check_triangle_gradient(grad, a);
  const c10::DeviceGuard guard(a.device());
  Tensor grad_a = at::empty(a.sizes(), a.options(), at::MemoryFormat::Contiguous);
  Tensor grad_b = at::empty(b.sizes(), b.options(), at::MemoryFormat::Contiguous);
  const Tensor grad_ready = with_contiguous_channels(grad);
  const Tensor a_ready = with_contiguous_channels(a);
  const Tensor b_ready = with_contiguous_channels(b);
  const Tensor mask_ready = mask_for_kernel(mask, a.scalar_type());
  solve(gradient_a_problem(grad_ready, b_ready, mask_ready, outgoing, grad_a), a.device());
  solve(gradient_b_problem(grad_ready, a_ready, mask_ready, outgoing, grad_b), a.device());
  return {grad_a, grad_b};
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, CUDA, m) {
  m.impl("triangle_contraction", TORCH_FN(atmos::triangle_contraction_cuda));
  m.impl("triangle_contraction_backward", TORCH_FN(atmos::triangle_contraction_backward_cuda));
}
