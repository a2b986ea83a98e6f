// Meta backend of the triangle multiplicative update: shapes without data.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "triangle.h"

namespace atmos {
namespace {

Tensor empty_like_contiguous(const Tensor& tensor) {
  return at::empty_symint(tensor.sym_sizes(), tensor.options(), at::MemoryFormat::Contiguous);
}

TriangleForward forward_meta(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                             bool /*outgoing*/, bool /*residual*/, double /*epsilon*/) {
  check_triangle(z, mask, {ATMOS_TRIANGLE_PARAMETER_NAMES});
  const std::array<c10::SymInt, 4> sizes{z.sym_size(0), linear_a_p.sym_size(0), z.sym_size(1),
                                         z.sym_size(2)};
  return {empty_like_contiguous(z),
          at::empty_symint(sizes, z.options(), at::MemoryFormat::Contiguous)};
}

Tensor update_meta(const Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS,
                   bool /*outgoing*/, bool /*residual*/, double /*epsilon*/) {
  check_triangle(z, mask, {ATMOS_TRIANGLE_PARAMETER_NAMES});
  return empty_like_contiguous(z);
}

void add_meta(Tensor& z, const Tensor& mask, ATMOS_TRIANGLE_PARAMETERS, bool /*outgoing*/,
              double /*epsilon*/) {
  check_triangle(z, mask, {ATMOS_TRIANGLE_PARAMETER_NAMES});
}

TriangleBackward backward_meta(const Tensor& grad, const Tensor& z, const Tensor& mask,
                               const Tensor& x, ATMOS_TRIANGLE_PARAMETERS, bool /*outgoing*/,
                               bool /*residual*/, double /*epsilon*/) {
  const TriangleParameters parameters{ATMOS_TRIANGLE_PARAMETER_NAMES};
  check_triangle(z, mask, parameters);
  check_triangle_gradient(grad, x, z, parameters);
  return {empty_like_contiguous(z),
          empty_like_contiguous(norm_in_weight),
          empty_like_contiguous(norm_in_bias),
          empty_like_contiguous(norm_out_weight),
          empty_like_contiguous(norm_out_bias),
          empty_like_contiguous(linear_a_p),
          empty_like_contiguous(linear_a_g),
          empty_like_contiguous(linear_b_p),
          empty_like_contiguous(linear_b_g),
          empty_like_contiguous(linear_g),
          empty_like_contiguous(linear_z)};
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, Meta, m) {
  m.impl("triangle_multiplication", TORCH_FN(atmos::update_meta));
  m.impl("triangle_multiplication_", TORCH_FN(atmos::add_meta));
  m.impl("triangle_multiplication_forward", TORCH_FN(atmos::forward_meta));
  m.impl("triangle_multiplication_backward", TORCH_FN(atmos::backward_meta));
}
