// Gradient and autocast policy of the triangle multiplicative update. Both are registered in C++:
// a TorchScript module loaded in a process without Python has them too.
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/add.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "triangle.h"

namespace atmos {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

TriangleParameters parameters_at(const variable_list& list, size_t first) {
  return {list[first],     list[first + 1], list[first + 2], list[first + 3], list[first + 4],
          list[first + 5], list[first + 6], list[first + 7], list[first + 8], list[first + 9]};
}

// A node for the first derivative, so that asking for a second one raises instead of returning a
// number that lacks terms.
class TriangleUpdateBackward : public torch::autograd::Function<TriangleUpdateBackward> {
 public:
  static variable_list forward(AutogradContext* /*context*/, const Tensor& grad, const Tensor& z,
                               const Tensor& mask, const Tensor& x, ATMOS_TRIANGLE_PARAMETERS,
                               bool outgoing, bool residual, double epsilon) {
    at::AutoDispatchBelowADInplaceOrView below;
    const TriangleBackward result =
        call_triangle_backward(grad, z, mask, x, {ATMOS_TRIANGLE_PARAMETER_NAMES},
                               {outgoing, residual, epsilon});
    return std::apply([](const auto&... each) { return variable_list{each...}; }, result);
  }

  static variable_list backward(AutogradContext* /*context*/, const variable_list& /*grads*/) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        false,
        "atmos::triangle_multiplication has first derivatives only; a second derivative (double "
        "backward) was asked for. Use create_graph=False, or plain operations of torch where "
        "second derivatives are needed.");
  }
};

class TriangleUpdate : public torch::autograd::Function<TriangleUpdate> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& z, const Tensor& mask,
                               ATMOS_TRIANGLE_PARAMETERS, bool outgoing, bool residual,
                               double epsilon) {
    at::AutoDispatchBelowADInplaceOrView below;
    const auto [out, x] = call_triangle_forward(z, mask, {ATMOS_TRIANGLE_PARAMETER_NAMES},
                                                {outgoing, residual, epsilon});
    context->save_for_backward({z, mask, x, ATMOS_TRIANGLE_PARAMETER_NAMES});
    context->mark_non_differentiable({x});
    context->set_materialize_grads(false);
    context->saved_data["outgoing"] = outgoing;
    context->saved_data["residual"] = residual;
    context->saved_data["epsilon"] = epsilon;
    return {out, x};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    variable_list result(kTriangleParameters + 5);  // z, mask, parameters, three settings
    if (!grads[0].defined()) return result;
    const variable_list saved = context->get_saved_variables();
    const TriangleBackward all = call_triangle_backward(
        grads[0], saved[0], saved[1], saved[2], parameters_at(saved, 3),
        {context->saved_data["outgoing"].toBool(), context->saved_data["residual"].toBool(),
         context->saved_data["epsilon"].toDouble()});
    const variable_list list =
        std::apply([](const auto&... each) { return variable_list{each...}; }, all);
    result[0] = list[0];
    for (size_t i = 0; i < kTriangleParameters; ++i) result[i + 2] = list[i + 1];
    return result;
  }
};

void check_constant_mask(const Tensor& mask) {
  TORCH_CHECK(!(mask.requires_grad() && at::GradMode::is_enabled()),
              "atmos::triangle_multiplication: mask requires a gradient; expected a constant, "
              "because the operator has no gradient with respect to the mask. Pass mask.detach().");
}

bool wants_gradient(at::ArrayRef<Tensor> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Tensor& tensor : tensors)
    if (tensor.requires_grad()) return true;
  return false;
}

Tensor call_triangle_update(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                            bool outgoing, bool residual, double epsilon) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("atmos::triangle_multiplication", "")
                       .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                     const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                     const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                     bool, bool, double)>();
  return op.call(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual, epsilon);
}

TriangleForward forward_autograd(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                                 bool outgoing, bool residual, double epsilon) {
  check_constant_mask(mask);
  const variable_list result = TriangleUpdate::apply(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES,
                                                    outgoing, residual, epsilon);
  return {result[0], result[1]};
}

Tensor update_autograd(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                       bool outgoing, bool residual, double epsilon) {
  check_constant_mask(mask);
  // Without a gradient to come, x is not kept.
  if (!wants_gradient({z, ATMOS_TRIANGLE_PARAMETER_NAMES})) {
    at::AutoDispatchBelowADInplaceOrView below;
    return call_triangle_update(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual,
                                epsilon);
  }
  return TriangleUpdate::apply(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, residual,
                              epsilon)[0];
}

void call_triangle_add(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                       double epsilon) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("atmos::triangle_multiplication_", "")
                       .typed<void(Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                   const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                   const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                   bool, double)>();
  op.call(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, epsilon);
}

void add_autograd(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                  double epsilon) {
  TORCH_CHECK(!wants_gradient({z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES}),
              "atmos::triangle_multiplication_ works in place and has no gradient, and an argument "
              "requires one. Use triangle_multiplication with residual=True, or torch.no_grad().");
  {
    at::AutoDispatchBelowADInplaceOrView below;
    call_triangle_add(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, epsilon);
  }
  if (!z.is_inference()) z.unsafeGetTensorImpl()->bump_version();
}

TriangleBackward backward_autograd(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                   const Tensor& x, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                                   bool residual, double epsilon) {
  check_constant_mask(mask);
  const variable_list r =
      TriangleUpdateBackward::apply(grad, z, mask, x, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing,
                                   residual, epsilon);
  return {r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10]};
}

// Autocast. The update is made of matrix products, so it takes the lower-precision policy when that
// precision is bfloat16 (sums stay in float32); under float16 autocast it runs in float32, because
// the sum over N products can overflow float16. Parameters stay as they are: the kernels convert
// them. The residual is added in the dtype of z, as torch adds a bfloat16 update to a float32 z.
template <c10::DispatchKey key, c10::DeviceType device>
Tensor update_autocast(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                       bool outgoing, bool residual, double epsilon) {
  c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  const at::ScalarType asked = at::autocast::get_autocast_dtype(device);
  const at::ScalarType to = asked == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  const Tensor cast = at::autocast::cached_cast(to, z, device);
  const auto ready = [&](const Tensor& parameter) {
    return parameter.scalar_type() == at::kDouble ? parameter
                                                  : at::autocast::cached_cast(at::kFloat, parameter,
                                                                              device);
  };
  const bool inside = residual && cast.scalar_type() == z.scalar_type();
  const Tensor out = call_triangle_update(
      cast, mask, ready(norm_in_weight), ready(norm_in_bias), ready(norm_out_weight),
      ready(norm_out_bias), ready(linear_a_p), ready(linear_a_g), ready(linear_b_p),
      ready(linear_b_g), ready(linear_g), ready(linear_z), outgoing, inside, epsilon);
  return residual && !inside ? at::add(z, out) : out;
}

// In place: the update under autocast's policy, added in the dtype of z.
template <c10::DispatchKey key, c10::DeviceType device>
void add_autocast(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool outgoing,
                  double epsilon) {
  z.add_(update_autocast<key, device>(z, mask, ATMOS_TRIANGLE_PARAMETER_NAMES, outgoing, false,
                                      epsilon));
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, Autograd, m) {
  m.impl("triangle_multiplication", TORCH_FN(atmos::update_autograd));
  m.impl("triangle_multiplication_", TORCH_FN(atmos::add_autograd));
  m.impl("triangle_multiplication_forward", TORCH_FN(atmos::forward_autograd));
  m.impl("triangle_multiplication_backward", TORCH_FN(atmos::backward_autograd));
}

TORCH_LIBRARY_IMPL(atmos, AutocastCPU, m) {
  m.impl("triangle_multiplication",
         TORCH_FN((atmos::update_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>)));
  m.impl("triangle_multiplication_",
         TORCH_FN((atmos::add_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>)));
}

TORCH_LIBRARY_IMPL(atmos, AutocastCUDA, m) {
  m.impl("triangle_multiplication",
         TORCH_FN((atmos::update_autocast<c10::DispatchKey::AutocastCUDA, c10::DeviceType::CUDA>)));
  m.impl("triangle_multiplication_",
         TORCH_FN((atmos::add_autocast<c10::DispatchKey::AutocastCUDA, c10::DeviceType::CUDA>)));
}
