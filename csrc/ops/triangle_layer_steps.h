// The steps of the triangle multiplicative update on a CUDA device, as a sequence: what is
// allocated, which kernel and which product comes when. Knows the device only through the tensors,
// the stream and the table of functions, so that a test can run it with emulated kernels.
#pragma once

#include "kernels/triangle_layer_cuda.h"
#include "triangle_layer.h"

namespace atmos {

struct TriangleLayerFunctions {
  decltype(&atmos_tl_cuda_plan) plan = nullptr;
  decltype(&atmos_tl_cuda_nodes) nodes = nullptr;
  decltype(&atmos_tl_cuda_project) project = nullptr;
  decltype(&atmos_tl_cuda_finish) finish = nullptr;
  decltype(&atmos_tl_cuda_output_backward) output_backward = nullptr;
  decltype(&atmos_tl_cuda_input_backward) input_backward = nullptr;
  decltype(&atmos_tl_cuda_weight_gradient) weight_gradient = nullptr;
  decltype(&atmos_tl_cuda_sum) sum = nullptr;
  const char* (*error_string)(int) = nullptr;
};

TriangleForward triangle_layer_forward_steps(const TriangleLayerFunctions& functions, void* stream,
                                             const Tensor& z, const Tensor& mask,
                                             const TriangleParameters& parameters,
                                             const TriangleSettings& settings);
// The update added to z, which is contiguous.
void triangle_layer_add_steps(const TriangleLayerFunctions& functions, void* stream,
                              const Tensor& z, const Tensor& mask,
                              const TriangleParameters& parameters,
                              const TriangleSettings& settings);
TriangleBackward triangle_layer_backward_steps(const TriangleLayerFunctions& functions,
                                               void* stream, const Tensor& grad, const Tensor& z,
                                               const Tensor& mask, const Tensor& x,
                                               const TriangleParameters& parameters,
                                               const TriangleSettings& settings);

}  // namespace atmos
