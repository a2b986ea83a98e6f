// Checks, the dispatch rule and the calls of the triangle multiplicative update.
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>

#include "triangle.h"

namespace atmos {

namespace {

constexpr const char* kName = "atmos::triangle_multiplication: ";

// Widths that the CUDA kernels are built for: whole tiles of the tensor cores.
constexpr int64_t kCudaFewest = 32;
constexpr int64_t kCudaMost = 256;
constexpr int64_t kCudaStep = 32;

enum class Asked { kAuto, kReference, kStrict };

Asked asked_kernels() {
  const char* value = std::getenv("ATMOS_KERNELS");
  if (value == nullptr || *value == '\0' || std::strcmp(value, "auto") == 0) return Asked::kAuto;
  if (std::strcmp(value, "reference") == 0) return Asked::kReference;
  if (std::strcmp(value, "strict") == 0) return Asked::kStrict;
  TORCH_CHECK(false, kName, "ATMOS_KERNELS is \"", value,
              "\"; expected auto (kernels where there are some), reference (plain operations of "
              "torch) or strict (kernels or an error).");
}

bool cuda_width(int64_t width) {
  return width >= kCudaFewest && width <= kCudaMost && width % kCudaStep == 0;
}

void check_parameter(const char* name, const Tensor& parameter, const Tensor& z,
                     at::ArrayRef<c10::SymInt> sizes, const char* meaning) {
  TORCH_CHECK(parameter.dim() == int64_t(sizes.size()), kName, name, " has shape ",
              parameter.sym_sizes(), "; expected ", meaning, " = ", sizes, ".");
  for (size_t dim = 0; dim < sizes.size(); ++dim)
    TORCH_SYM_CHECK(parameter.sym_size(int64_t(dim)).sym_eq(sizes[dim]), kName, name,
                    " has shape ", parameter.sym_sizes(), "; expected ", meaning, " = ", sizes,
                    ".");
  const at::ScalarType dtype = parameter.scalar_type();
  TORCH_CHECK(dtype == z.scalar_type() ||
                  (dtype == at::kFloat && z.scalar_type() == at::kBFloat16),
              kName, name, " has dtype ", dtype, " and z ", z.scalar_type(),
              "; expected the dtype of z, or float32 with a bfloat16 z. Convert it with .to().");
  TORCH_CHECK(parameter.device() == z.device(), kName, name, " is on ", parameter.device(),
              " and z on ", z.device(), "; expected one device. Move them with .to().");
}

}  // namespace

void check_triangle(const Tensor& z, const Tensor& mask, const TriangleParameters& p) {
  TORCH_CHECK(z.dim() == 4, kName, "z has shape ", z.sym_sizes(),
              "; expected [B, N, N, C]. Add the missing dimension (unsqueeze(0) for one system).");
  TORCH_SYM_CHECK(z.sym_size(1).sym_eq(z.sym_size(2)), kName, "z has shape ", z.sym_sizes(),
                  "; expected [B, N, N, C] with the two pair dimensions equal.");
  TORCH_CHECK(z.scalar_type() == at::kFloat || z.scalar_type() == at::kDouble ||
                  z.scalar_type() == at::kBFloat16,
              kName, "z has dtype ", z.scalar_type(),
              "; expected float32, float64 or bfloat16. Half precision is not offered because the "
              "sum over N products can overflow it: convert to bfloat16 or float32.");
  TORCH_CHECK(mask.dim() == 3, kName, "mask has shape ", mask.sym_sizes(),
              "; expected [B, N, N], one value a pair and none a channel.");
  for (int dim = 0; dim < 3; ++dim)
    TORCH_SYM_CHECK(z.sym_size(dim).sym_eq(mask.sym_size(dim)), kName, "mask has shape ",
                    mask.sym_sizes(), "; expected [B, N, N] of z, whose shape is ", z.sym_sizes(),
                    ".");
  TORCH_CHECK(at::isFloatingType(mask.scalar_type()) || mask.scalar_type() == at::kBool, kName,
              "mask has dtype ", mask.scalar_type(), "; expected a floating dtype or bool.");
  TORCH_CHECK(mask.device() == z.device(), kName, "mask is on ", mask.device(), " and z on ",
              z.device(), "; expected one device. Move them with .to().");
  TORCH_CHECK(p.linear_a_p.dim() == 2, kName, "linear_a_p has shape ", p.linear_a_p.sym_sizes(),
              "; expected [H, C].");
  const c10::SymInt c = z.sym_size(3), h = p.linear_a_p.sym_size(0);
  const std::array<c10::SymInt, 2> hc{h, c}, cc{c, c}, ch{c, h};
  check_parameter("norm_in_weight", p.norm_in_weight, z, c, "[C]");
  check_parameter("norm_in_bias", p.norm_in_bias, z, c, "[C]");
  check_parameter("norm_out_weight", p.norm_out_weight, z, h, "[H]");
  check_parameter("norm_out_bias", p.norm_out_bias, z, h, "[H]");
  check_parameter("linear_a_p", p.linear_a_p, z, hc, "[H, C]");
  check_parameter("linear_a_g", p.linear_a_g, z, hc, "[H, C]");
  check_parameter("linear_b_p", p.linear_b_p, z, hc, "[H, C]");
  check_parameter("linear_b_g", p.linear_b_g, z, hc, "[H, C]");
  check_parameter("linear_g", p.linear_g, z, cc, "[C, C]");
  check_parameter("linear_z", p.linear_z, z, ch, "[C, H]");
}

void check_triangle_gradient(const Tensor& grad, const Tensor& x, const Tensor& z,
                                   const TriangleParameters& parameters) {
  TORCH_CHECK(grad.dim() == 4, kName, "the gradient has shape ", grad.sym_sizes(),
              "; expected that of z, ", z.sym_sizes(), ".");
  for (int dim = 0; dim < 4; ++dim)
    TORCH_SYM_CHECK(grad.sym_size(dim).sym_eq(z.sym_size(dim)), kName, "the gradient has shape ",
                    grad.sym_sizes(), "; expected that of z, ", z.sym_sizes(), ".");
  TORCH_CHECK(grad.scalar_type() == z.scalar_type(), kName, "the gradient has dtype ",
              grad.scalar_type(), "; expected that of z, ", z.scalar_type(), ".");
  TORCH_CHECK(grad.device() == z.device(), kName, "the gradient is on ", grad.device(),
              "; expected the device of z, ", z.device(), ".");
  const std::array<c10::SymInt, 4> sizes{z.sym_size(0), parameters.linear_a_p.sym_size(0),
                                         z.sym_size(1), z.sym_size(2)};
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == z.scalar_type() && x.device() == z.device(), kName,
              "x has shape ", x.sym_sizes(), " and dtype ", x.scalar_type(),
              "; expected the second result of atmos::triangle_multiplication_forward.");
  for (int dim = 0; dim < 4; ++dim)
    TORCH_SYM_CHECK(x.sym_size(dim).sym_eq(sizes[size_t(dim)]), kName, "x has shape ",
                    x.sym_sizes(), "; expected [B, H, N, N] = ",
                    at::ArrayRef<c10::SymInt>(sizes), ".");
}

TriangleRoute triangle_route(const Tensor& z, int64_t hidden) {
  const Asked asked = asked_kernels();
  // Nothing to compute: no kernel is started, and none is missing.
  if (z.numel() == 0 || hidden == 0) return TriangleRoute::kReference;
  if (asked == Asked::kReference) return TriangleRoute::kReference;
  const int64_t channels = z.size(3);
  bool have = false;
  if (z.device().is_cpu()) have = true;
  if (z.device().is_cuda())
    have = z.scalar_type() != at::kDouble && cuda_width(channels) && cuda_width(hidden);
  TORCH_CHECK(have || asked == Asked::kAuto, kName, "no kernel for dtype ", z.scalar_type(),
              " on ", z.device(), " with C = ", channels, " and H = ", hidden,
              ", and ATMOS_KERNELS is strict. On CUDA there are kernels for float32 and bfloat16 "
              "with C and H multiples of ", kCudaStep, " from ", kCudaFewest, " to ", kCudaMost,
              ". Use ATMOS_KERNELS=auto to fall back to plain operations.");
  return have ? TriangleRoute::kKernel : TriangleRoute::kReference;
}

TriangleForward call_triangle_forward(const Tensor& z, const Tensor& mask,
                                      const TriangleParameters& p,
                                      const TriangleSettings& settings) {
  static auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("atmos::triangle_multiplication_forward", "")
          .typed<TriangleForward(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                 const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                 const Tensor&, const Tensor&, const Tensor&, const Tensor&, bool,
                                 bool, double)>();
  return op.call(z, mask, p.norm_in_weight, p.norm_in_bias, p.norm_out_weight, p.norm_out_bias,
                 p.linear_a_p, p.linear_a_g, p.linear_b_p, p.linear_b_g, p.linear_g, p.linear_z,
                 settings.outgoing, settings.residual, settings.epsilon);
}

TriangleBackward call_triangle_backward(const Tensor& grad, const Tensor& z, const Tensor& mask,
                                        const Tensor& x, const TriangleParameters& p,
                                        const TriangleSettings& settings) {
  static auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("atmos::triangle_multiplication_backward", "")
          .typed<TriangleBackward(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                  const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                  const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                  const Tensor&, const Tensor&, bool, bool, double)>();
  return op.call(grad, z, mask, x, p.norm_in_weight, p.norm_in_bias, p.norm_out_weight,
                 p.norm_out_bias, p.linear_a_p, p.linear_a_g, p.linear_b_p, p.linear_b_g,
                 p.linear_g, p.linear_z, settings.outgoing, settings.residual, settings.epsilon);
}

}  // namespace atmos
