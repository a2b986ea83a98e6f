// Schemas of the operator library, and what it says about itself.
#include <torch/library.h>
#include <torch/version.h>

#include <string>

#include "cuda_library.h"
#include "kernels/cpu_instruction_set.h"
#include "triangle.h"

namespace atmos {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' || c == '\t' ? ' ' : c;
  }
  return result + "\"";
}

// A JSON object; atmos_openmm.ops.library_info documents its keys.
std::string library_info() {
  const CudaLibraryState cuda = cuda_library_state();
  std::string info = "{";
  info += "\"torch\": " + quoted(TORCH_VERSION);
  info += ", \"cpu_instruction_set\": " + quoted(atmos_cpu::name_of(atmos_cpu::instruction_set()));
  info += std::string(", \"cuda_built\": ") + (cuda.built ? "true" : "false");
  info += std::string(", \"cuda_loaded\": ") + (cuda.loaded ? "true" : "false");
  info += ", \"cuda_toolkit\": " + quoted(cuda.toolkit);
  info += ", \"cuda_architectures\": " + quoted(cuda.architectures);
  info += ", \"cuda_error\": " + quoted(cuda.error);
  return info + "}";
}

std::string route_name(const Tensor& z, int64_t hidden) {
  return triangle_route(z, hidden) == TriangleRoute::kKernel ? "kernel" : "reference";
}

}  // namespace
}  // namespace atmos

#define ATMOS_TENSORS                                                                          \
  "Tensor norm_in_weight, Tensor norm_in_bias, Tensor norm_out_weight, Tensor norm_out_bias, " \
  "Tensor linear_a_p, Tensor linear_a_g, Tensor linear_b_p, Tensor linear_b_g, "               \
  "Tensor linear_g, Tensor linear_z, bool outgoing, "
#define ATMOS_PARAMETERS ATMOS_TENSORS "bool residual, float epsilon)"
#define ATMOS_IN_PLACE_PARAMETERS ATMOS_TENSORS "float epsilon)"

TORCH_LIBRARY(atmos, m) {
  m.def("library_info() -> str", atmos::library_info);
  m.def("triangle_multiplication(Tensor z, Tensor mask, " ATMOS_PARAMETERS " -> Tensor",
        {at::Tag::pt2_compliant_tag});
  // Adds the update to z in place; without gradients.
  m.def("triangle_multiplication_(Tensor(a!) z, Tensor mask, " ATMOS_IN_PLACE_PARAMETERS " -> ()",
        {at::Tag::pt2_compliant_tag});
  m.def("triangle_multiplication_forward(Tensor z, Tensor mask, " ATMOS_PARAMETERS
        " -> (Tensor, Tensor)",
        {at::Tag::pt2_compliant_tag});
  m.def("triangle_multiplication_backward(Tensor grad, Tensor z, Tensor mask, Tensor x, "
        ATMOS_PARAMETERS
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, "
        "Tensor)",
        {at::Tag::pt2_compliant_tag});
  // "kernel" or "reference": what triangle_multiplication does with such a z and hidden width.
  m.def("triangle_multiplication_route(Tensor z, int hidden) -> str");
  m.impl("triangle_multiplication_route", c10::DispatchKey::CompositeExplicitAutograd,
         TORCH_FN(atmos::route_name));
}
