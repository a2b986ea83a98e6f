// The CUDA kernels of the triangle multiplicative update and the sequence of their steps, on the
// host: torch.ops.atmos_emulated.forward and backward, with the arguments of
// atmos::triangle_multiplication_forward and _backward. Tensors are on the CPU.
#include <torch/library.h>

#include "kernels/triangle_cuda.cu"
#include "ops/triangle_cuda.h"

namespace {

using namespace atmos;

const CudaFunctions table{
    atmos_tl_cuda_plan,           atmos_tl_cuda_nodes,           atmos_tl_cuda_project,
    atmos_tl_cuda_finish,         atmos_tl_cuda_output_backward, atmos_tl_cuda_input_backward,
    atmos_tl_cuda_weight_gradient, atmos_tl_cuda_sum,            atmos_cuda_error_string};

TriangleParameters parameters(at::TensorList p) {
  return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9]};
}

TriangleForward forward(const Tensor& z, const Tensor& mask, at::TensorList p, bool outgoing,
                        bool residual, double epsilon) {
  const TriangleParameters given = parameters(p);
  return cuda::CudaLayer(table, nullptr, z, mask, given, {outgoing, residual, epsilon}).forward();
}

TriangleBackward backward(const Tensor& grad, const Tensor& z, const Tensor& mask, const Tensor& x,
                          at::TensorList p, bool outgoing, bool residual, double epsilon) {
  const TriangleParameters given = parameters(p);
  return cuda::CudaLayer(table, nullptr, z, mask, given, {outgoing, residual, epsilon})
      .backward(grad, x);
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
