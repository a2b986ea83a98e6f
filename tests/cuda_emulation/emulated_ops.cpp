// The CUDA kernels of the triangle multiplicative update and the sequence of their steps, on the
// host: torch.ops.atmos_emulated.forward and backward, with the arguments of
// atmos::triangle_multiplication_forward and _backward. Tensors are on the CPU.
#include <torch/library.h>

#include "kernels/triangle_layer_cuda.cu"
#include "ops/triangle_layer_steps.cpp"

namespace {

using namespace atmos;

const TriangleLayerFunctions& functions() {
  static const TriangleLayerFunctions table{
      atmos_tl_cuda_plan,           atmos_tl_cuda_nodes,           atmos_tl_cuda_project,
      atmos_tl_cuda_finish,         atmos_tl_cuda_output_backward, atmos_tl_cuda_input_backward,
      atmos_tl_cuda_weight_gradient, atmos_tl_cuda_sum,            [](int) { return "emulated"; }};
  return table;
}

TriangleForward forward(const Tensor& z, const Tensor& mask, at::TensorList p, bool outgoing,
                        bool residual, double epsilon) {
  return triangle_layer_forward_steps(
      functions(), nullptr, z, mask, {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9]},
      {outgoing, residual, epsilon});
}

TriangleBackward backward(const Tensor& grad, const Tensor& z, const Tensor& mask, const Tensor& x,
                          at::TensorList p, bool outgoing, bool residual, double epsilon) {
  return triangle_layer_backward_steps(
      functions(), nullptr, grad, z, mask, x,
      {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9]}, {outgoing, residual, epsilon});
}

}  // namespace

TORCH_LIBRARY(atmos_emulated, m) {
  m.def("forward(Tensor z, Tensor mask, Tensor[] parameters, bool outgoing, bool residual, "
        "float epsilon) -> (Tensor, Tensor)",
        forward);
  m.def("backward(Tensor grad, Tensor z, Tensor mask, Tensor x, Tensor[] parameters, "
        "bool outgoing, bool residual, float epsilon) -> (Tensor, Tensor, Tensor, Tensor, Tensor, "
        "Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
        backward);
}
