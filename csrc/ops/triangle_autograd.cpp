// Gradient and autocast policy. Both are registered in C++, so a TorchScript module loaded in a
// process without Python has them too.
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "triangle_common.h"

namespace atmos {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The first derivative as a differentiable-looking node, so that asking for a second derivative
// raises instead of returning a number that lacks a term.
class TriangleContractionBackward
    : public torch::autograd::Function<TriangleContractionBackward> {
 public:
  static variable_list forward(AutogradContext* /*context*/, const Tensor& grad, const Tensor& a,
                               const Tensor& b, const Tensor& mask, bool outgoing) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [grad_a, grad_b] = call_triangle_contraction_backward(grad, a, b, mask, outgoing);
    return {grad_a, grad_b};
  }

  static variable_list backward(AutogradContext* /*context*/, const variable_list& /*grads*/) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false,
        "atmos::triangle_contraction has first derivatives only; a second derivative (double "
        "backward) was asked for. Use create_graph=False, or torch.einsum where second "
        "derivatives are needed.");
  }
};

class TriangleContraction : public torch::autograd::Function<TriangleContraction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b,
                        const Tensor& mask, bool outgoing) {
    at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({a, b, mask});
    context->saved_data["outgoing"] = outgoing;
    return call_triangle_contraction(a, b, mask, outgoing);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    auto [grad_a, grad_b] = call_triangle_contraction_backward(
        grads[0], saved[0], saved[1], saved[2], context->saved_data["outgoing"].toBool());
    return {grad_a, grad_b, Tensor(), Tensor()};
  }
};

void check_constant_mask(const Tensor& mask) {
  TORCH_CHECK(!(mask.requires_grad() && at::GradMode::is_enabled()),
              "atmos::triangle_contraction: mask requires a gradient; expected a constant, because "
              "the operator has no gradient with respect to the mask. Pass mask.detach().");
}

Tensor triangle_contraction_autograd(const Tensor& a, const Tensor& b, const Tensor& mask,
                                     bool outgoing) {
  check_constant_mask(mask);
  return TriangleContraction::apply(a, b, mask, outgoing);
}

std::tuple<Tensor, Tensor> triangle_contraction_backward_autograd(const Tensor& grad,
                                                                  const Tensor& a, const Tensor& b,
                                                                  const Tensor& mask,
                                                                  bool outgoing) {
  check_constant_mask(mask);
  const variable_list result = TriangleContractionBackward::apply(grad, a, b, mask, outgoing);
  return {result[0], result[1]};
}

// Autocast. The contraction is a matrix product, so it takes the lower-precision policy when that
// precision is bfloat16 (sums stay in float32). Under float16 autocast it runs in float32 instead:
// the sum over N products can overflow float16. float64 is left alone, as autocast always does.
template <c10::DispatchKey key, c10::DeviceType device>
Tensor triangle_contraction_autocast(const Tensor& a, const Tensor& b, const Tensor& mask,
                                     bool outgoing) {
  c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  const at::ScalarType asked = at::autocast::get_autocast_dtype(device);
  const at::ScalarType to = asked == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  return call_triangle_contraction(at::autocast::cached_cast(to, a, device),
                                   at::autocast::cached_cast(to, b, device), mask, outgoing);
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, Autograd, m) {
  m.impl("triangle_contraction", TORCH_FN(atmos::triangle_contraction_autograd));
  m.impl("triangle_contraction_backward", TORCH_FN(atmos::triangle_contraction_backward_autograd));
}

TORCH_LIBRARY_IMPL(atmos, AutocastCPU, m) {
  m.impl("triangle_contraction",
         TORCH_FN((atmos::triangle_contraction_autocast<c10::DispatchKey::AutocastCPU,
                                                        c10::DeviceType::CPU>)));
}

TORCH_LIBRARY_IMPL(atmos, AutocastCUDA, m) {
  m.impl("triangle_contraction",
         TORCH_FN((atmos::triangle_contraction_autocast<c10::DispatchKey::AutocastCUDA,
                                                        c10::DeviceType::CUDA>)));
}
