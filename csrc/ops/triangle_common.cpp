#include "triangle_common.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

namespace atmos {

namespace {

constexpr const char* kName = "atmos::triangle_contraction: ";

bool supported(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16;
}

atmos_tc_dtype kernel_dtype(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble: return ATMOS_TC_F64;
    case at::kBFloat16: return ATMOS_TC_BF16;
    default: return ATMOS_TC_F32;
  }
}

// Whether the first of a tensor's two pair indices is the row (p or q) or the index summed over.
enum class First { kRow, kSum };

atmos_tc_input input(const Tensor& tensor, const Tensor& mask, First first) {
  const int row = first == First::kRow ? 1 : 2;
  const int sum = 3 - row;
  atmos_tc_input result{};
  result.data = tensor.const_data_ptr();
  result.batch_stride = tensor.stride(0);
  result.row_stride = tensor.stride(row);
  result.sum_stride = tensor.stride(sum);
  if (mask.defined()) {
    result.mask = mask.const_data_ptr();
    result.mask_batch_stride = mask.stride(0);
    result.mask_row_stride = mask.stride(row);
    result.mask_sum_stride = mask.stride(sum);
  }
  return result;
}

atmos_tc_problem problem(const atmos_tc_input& x, const atmos_tc_input& y, const Tensor& out,
                         const Tensor& out_mask) {
  atmos_tc_problem result{};
  result.dtype = kernel_dtype(out);
  result.batch = out.size(0);
  result.size = out.size(1);
  result.channels = out.size(3);
  result.x = x;
  result.y = y;
  result.out.data = out.mutable_data_ptr();
  result.out.batch_stride = out.stride(0);
  result.out.row_stride = out.stride(1);
  result.out.column_stride = out.stride(2);
  if (out_mask.defined()) {
    result.out.mask = out_mask.const_data_ptr();
    result.out.mask_batch_stride = out_mask.stride(0);
    result.out.mask_row_stride = out_mask.stride(1);
    result.out.mask_column_stride = out_mask.stride(2);
  }
  return result;
}

}  // namespace

void check_triangle_arguments(const Tensor& a, const Tensor& b, const Tensor& mask) {
  TORCH_CHECK(a.dim() == 4, kName, "a has shape ", a.sym_sizes(),
              "; expected [B, N, N, C]. Add the missing dimension (unsqueeze(0) for one system).");
  TORCH_CHECK(b.dim() == 4, kName, "b has shape ", b.sym_sizes(), "; expected that of a, ",
              a.sym_sizes(), ".");
  TORCH_CHECK(mask.dim() == 3, kName, "mask has shape ", mask.sym_sizes(),
              "; expected [B, N, N], one value a pair and none a channel.");
  TORCH_SYM_CHECK(a.sym_size(1).sym_eq(a.sym_size(2)), kName, "a has shape ", a.sym_sizes(),
                  "; expected [B, N, N, C] with the two pair dimensions equal.");
  for (int dim = 0; dim < 4; ++dim)
    TORCH_SYM_CHECK(a.sym_size(dim).sym_eq(b.sym_size(dim)), kName, "a has shape ", a.sym_sizes(),
                    " and b ", b.sym_sizes(), "; expected equal shapes.");
  for (int dim = 0; dim < 3; ++dim)
    TORCH_SYM_CHECK(a.sym_size(dim).sym_eq(mask.sym_size(dim)), kName, "mask has shape ",
                    mask.sym_sizes(), "; expected [B, N, N] of a, whose shape is ", a.sym_sizes(),
                    ".");
  TORCH_CHECK(supported(a.scalar_type()), kName, "a has dtype ", a.scalar_type(),
              "; expected float32, float64 or bfloat16. Half precision is not offered because the "
              "sum over N products can overflow it: convert to bfloat16 or float32.");
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), kName, "a has dtype ", a.scalar_type(),
              " and b ", b.scalar_type(), "; expected one dtype. Convert one of them with .to().");
  TORCH_CHECK(at::isFloatingType(mask.scalar_type()) || mask.scalar_type() == at::kBool, kName,
              "mask has dtype ", mask.scalar_type(), "; expected a floating dtype or bool.");
  TORCH_CHECK(a.device() == b.device() && a.device() == mask.device(), kName, "a is on ",
              a.device(), ", b on ", b.device(), " and mask on ", mask.device(),
              "; expected one device. Move them with .to().");
}

void check_triangle_gradient(const Tensor& grad, const Tensor& a) {
  TORCH_CHECK(grad.dim() == 4, kName, "the gradient has shape ", grad.sym_sizes(),
              "; expected that of a, ", a.sym_sizes(), ".");
  for (int dim = 0; dim < 4; ++dim)
    TORCH_SYM_CHECK(grad.sym_size(dim).sym_eq(a.sym_size(dim)), kName, "the gradient has shape ",
                    grad.sym_sizes(), "; expected that of a, ", a.sym_sizes(), ".");
  TORCH_CHECK(grad.scalar_type() == a.scalar_type(), kName, "the gradient has dtype ",
              grad.scalar_type(), "; expected that of a, ", a.scalar_type(), ".");
  TORCH_CHECK(grad.device() == a.device(), kName, "the gradient is on ", grad.device(),
              "; expected the device of a, ", a.device(), ".");
}

// out[i,j] = sum_k a[i,k] b[j,k]   or   sum_k a[k,i] b[k,j]
atmos_tc_problem forward_problem(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool outgoing, const Tensor& out) {
  const First first = outgoing ? First::kRow : First::kSum;
  return problem(input(a, mask, first), input(b, mask, first), out, Tensor());
}

// outgoing: grad_a[i,k] = m[i,k] sum_j grad[i,j] b[j,k]
// incoming: grad_a[k,i] = m[k,i] sum_j b[k,j] grad[i,j]
atmos_tc_problem gradient_a_problem(const Tensor& grad, const Tensor& b, const Tensor& mask,
                                    bool outgoing, const Tensor& grad_a) {
  const atmos_tc_input upstream = input(grad, Tensor(), First::kRow);
  if (outgoing) return problem(upstream, input(b, mask, First::kSum), grad_a, mask);
  return problem(input(b, mask, First::kRow), upstream, grad_a, mask);
}

// outgoing: grad_b[j,k] = m[j,k] sum_i grad[i,j] a[i,k]
// incoming: grad_b[k,j] = m[k,j] sum_i a[k,i] grad[i,j]
atmos_tc_problem gradient_b_problem(const Tensor& grad, const Tensor& a, const Tensor& mask,
                                    bool outgoing, const Tensor& grad_b) {
  const atmos_tc_input upstream = input(grad, Tensor(), First::kSum);
  if (outgoing) return problem(upstream, input(a, mask, First::kSum), grad_b, mask);
  return problem(input(a, mask, First::kRow), upstream, grad_b, mask);
}

Tensor call_triangle_contraction(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool outgoing) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("atmos::triangle_contraction", "")
                       .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, bool)>();
  return op.call(a, b, mask, outgoing);
}

std::tuple<Tensor, Tensor> call_triangle_contraction_backward(const Tensor& grad, const Tensor& a,
                                                              const Tensor& b, const Tensor& mask,
                                                              bool outgoing) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("atmos::triangle_contraction_backward", "")
                       .typed<std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&,
                                                         const Tensor&, const Tensor&, bool)>();
  return op.call(grad, a, b, mask, outgoing);
}

}  // namespace atmos
