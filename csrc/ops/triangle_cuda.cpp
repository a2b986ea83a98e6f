// CUDA backend of the triangle multiplicative update. Compiles against the CPU wheel of torch as
// well: device and stream come through c10's device-independent interface, the kernels from a
// library opened at the first call, and the contraction is torch's batched product, so that cuBLAS
// comes from torch.
#include "triangle_cuda.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "triangle_operators.h"

namespace atmos {
namespace {

// The layer on the device of z, on its current stream.
class CurrentStreamLayer {
 public:
  CurrentStreamLayer(const Tensor& z, const Tensor& mask, const TriangleParameters& parameters,
                     const TriangleSettings& settings)
      : guard_(z.device()),
        layer_(cuda_functions(), stream(z.device()), z, mask, parameters, settings) {}

  TriangleForward forward() const { return layer_.forward(); }
  void add_to(const Tensor& z) const { layer_.add_to(z); }
  TriangleBackward backward(const Tensor& grad, const Tensor& x) const {
    return layer_.backward(grad, x);
  }

 private:
  static void* stream(const c10::Device& device) {
    return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
  }

  const c10::DeviceGuard guard_;
  const cuda::CudaLayer layer_;
};

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, CUDA, m) {
  atmos::TriangleOperators<atmos::CurrentStreamLayer>::implement(m);
}
