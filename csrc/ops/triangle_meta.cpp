// Meta backend: shapes without data, for torch.compile, torch.export and tensors on "meta".
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "triangle_common.h"

namespace atmos {
namespace {

Tensor empty_like_contiguous(const Tensor& tensor) {
  return at::empty_symint(tensor.sym_sizes(), tensor.options(), at::MemoryFormat::Contiguous);
}

Tensor triangle_contraction_meta(const Tensor& a, const Tensor& b, const Tensor& mask,
                                 bool /*outgoing*/) {
  check_triangle_arguments(a, b, mask);
  return empty_like_contiguous(a);
}

std::tuple<Tensor, Tensor> triangle_contraction_backward_meta(const Tensor& grad, const Tensor& a,
                                                              const Tensor& b, const Tensor& mask,
                                                              bool /*outgoing*/) {
  check_triangle_arguments(a, b, mask);
  check_triangle_gradient(grad, a);
  return {empty_like_contiguous(a), empty_like_contiguous(b)};
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, Meta, m) {
  m.impl("triangle_contraction", TORCH_FN(atmos::triangle_contraction_meta));
  m.impl("triangle_contraction_backward", TORCH_FN(atmos::triangle_contraction_backward_meta));
}
