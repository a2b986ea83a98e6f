// The triangle multiplicative update in plain operations of torch, forward and gradient: what runs
// on a device, dtype or width without kernels, and with ATMOS_KERNELS=reference.
#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include "triangle.h"

namespace atmos {
namespace {

struct Normed {
  Tensor wide;  // the input in the type of the sums
  Tensor output, mean, scale;
};

struct Reference {
  Reference(const Tensor& z, const Tensor& mask, const TriangleParameters& p,
            const TriangleSettings& settings)
      : parameters(p),
        settings(settings),
        dtype(z.scalar_type()),
        acc(dtype == at::kDouble ? at::kDouble : at::kFloat),
        factor(mask.to(dtype).unsqueeze(-1)),
        masked(factor == 0) {
    const Tensor nodes = existing_nodes(mask, settings.outgoing).ne(0);
    absent = (nodes.unsqueeze(2).logical_and(nodes.unsqueeze(1))).logical_not().unsqueeze(-1);
    unread = masked.logical_and(absent);
    in = norm(z.masked_fill(unread, 0), p.norm_in_weight, p.norm_in_bias);
    gate_a = at::sigmoid(at::linear(in.output, weight(p.linear_a_g)));
    gate_b = at::sigmoid(at::linear(in.output, weight(p.linear_b_g)));
    value_a = at::linear(in.output, weight(p.linear_a_p)) * factor;
    value_b = at::linear(in.output, weight(p.linear_b_p)) * factor;
    a = to_planes((gate_a * value_a).masked_fill(masked, 0));
    b = to_planes((gate_b * value_b).masked_fill(masked, 0));
  }

  Tensor weight(const Tensor& parameter) const { return parameter.to(dtype); }
  static Tensor to_planes(const Tensor& rows) { return rows.permute({0, 3, 1, 2}); }
  static Tensor to_rows(const Tensor& planes) { return planes.permute({0, 2, 3, 1}); }
  static Tensor turned(const Tensor& planes) { return planes.transpose(-1, -2); }

  Normed norm(const Tensor& input, const Tensor& weight, const Tensor& bias) const {
    const Tensor wide = input.to(acc).contiguous();
    auto [output, mean, scale] = at::native_layer_norm(wide, {wide.size(-1)}, weight.to(acc),
                                                       bias.to(acc), settings.epsilon);
    return {wide, output.to(dtype), mean, scale};
  }

  std::tuple<Tensor, Tensor, Tensor> norm_backward(const Tensor& grad, const Normed& normed,
                                                   const Tensor& weight, const Tensor& bias) const {
    return at::native_layer_norm_backward(grad.to(acc).contiguous(), normed.wide,
                                          {normed.wide.size(-1)}, normed.mean, normed.scale,
                                          weight.to(acc), bias.to(acc), {true, true, true});
  }

  // The gradient of a weight from those of the product's rows, and the rows.
  static Tensor weight_gradient(const Tensor& grad, const Tensor& rows, const Tensor& parameter) {
    return as_parameter(
        at::mm(grad.reshape({-1, grad.size(-1)}).t(), rows.reshape({-1, rows.size(-1)})),
        parameter);
  }

  const TriangleParameters& parameters;
  const TriangleSettings settings;
  const at::ScalarType dtype, acc;
  const Tensor factor, masked;
  Tensor absent, unread;  // pairs without an update, and those of them whose z is not read
  Normed in;
  Tensor gate_a, gate_b, value_a, value_b, a, b;
};

}  // namespace

TriangleForward reference_forward(const Tensor& z, const Tensor& mask, const TriangleParameters& p,
                                  const TriangleSettings& settings) {
  const at::AutoDispatchBelowADInplaceOrView below;
  const Reference r(z, mask, p, settings);
  const Tensor x = (settings.outgoing ? at::matmul(r.a, Reference::turned(r.b))
                                      : at::matmul(Reference::turned(r.a), r.b))
                       .contiguous();
  const Normed contracted = r.norm(Reference::to_rows(x), p.norm_out_weight, p.norm_out_bias);
  Tensor update = at::sigmoid(at::linear(r.in.output, r.weight(p.linear_g))) *
                  at::linear(contracted.output, r.weight(p.linear_z));
  update = update.masked_fill(r.absent, 0);
  return {(settings.residual ? z + update : update).contiguous(), x};
}

TriangleBackward reference_backward(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                    const Tensor& x, const TriangleParameters& p,
                                    const TriangleSettings& settings) {
  const at::AutoDispatchBelowADInplaceOrView below;
  const Reference r(z, mask, p, settings);
  const Tensor given = grad.masked_fill(r.absent, 0);

  const Normed contracted = r.norm(Reference::to_rows(x), p.norm_out_weight, p.norm_out_bias);
  const Tensor gate = at::sigmoid(at::linear(r.in.output, r.weight(p.linear_g)));
  const Tensor grad_value = given * gate;
  const Tensor grad_gate =
      grad_value * at::linear(contracted.output, r.weight(p.linear_z)) * (1 - gate);
  const Tensor grad_g = Reference::weight_gradient(grad_gate, r.in.output, p.linear_g);
  const Tensor grad_z_weight =
      Reference::weight_gradient(grad_value, contracted.output, p.linear_z);
  Tensor back = at::matmul(grad_gate, r.weight(p.linear_g));

  const auto [grad_x_rows, norm_out_weight, norm_out_bias] =
      r.norm_backward(at::matmul(grad_value, r.weight(p.linear_z)), contracted, p.norm_out_weight,
                      p.norm_out_bias);
  const Tensor grad_x = Reference::to_planes(grad_x_rows.to(r.dtype));
  const Tensor turned_x = Reference::turned(grad_x);
  const Tensor grad_a = Reference::to_rows(settings.outgoing ? at::matmul(grad_x, r.b)
                                                             : at::matmul(r.b, turned_x));
  const Tensor grad_b = Reference::to_rows(settings.outgoing ? at::matmul(turned_x, r.a)
                                                             : at::matmul(r.a, grad_x));

  const auto through = [&](const Tensor& side, const Tensor& gate_of, const Tensor& value_of,
                           const Tensor& weight_gate, const Tensor& weight_value) {
    const Tensor value_grad = (side * gate_of * r.factor).masked_fill(r.masked, 0);
    const Tensor gate_grad =
        (side * value_of * gate_of * (1 - gate_of)).masked_fill(r.masked, 0);
    back = back + at::matmul(value_grad, r.weight(weight_value)) +
           at::matmul(gate_grad, r.weight(weight_gate));
    return std::make_pair(Reference::weight_gradient(value_grad, r.in.output, weight_value),
                          Reference::weight_gradient(gate_grad, r.in.output, weight_gate));
  };
  const auto [grad_a_p, grad_a_g] =
      through(grad_a, r.gate_a, r.value_a, p.linear_a_g, p.linear_a_p);
  const auto [grad_b_p, grad_b_g] =
      through(grad_b, r.gate_b, r.value_b, p.linear_b_g, p.linear_b_p);

  const auto [grad_in, norm_in_weight, norm_in_bias] =
      r.norm_backward(back, r.in, p.norm_in_weight, p.norm_in_bias);
  Tensor grad_z = grad_in.to(r.dtype).masked_fill(r.unread, 0);
  if (settings.residual) grad_z = grad_z + grad;
  return {grad_z.contiguous(),
          as_parameter(norm_in_weight, p.norm_in_weight),
          as_parameter(norm_in_bias, p.norm_in_bias),
          as_parameter(norm_out_weight, p.norm_out_weight),
          as_parameter(norm_out_bias, p.norm_out_bias),
          grad_a_p,
          grad_a_g,
          grad_b_p,
          grad_b_g,
          grad_g,
          grad_z_weight};
}

}  // namespace atmos
