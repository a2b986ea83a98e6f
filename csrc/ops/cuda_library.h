// The CUDA half lives in a library of its own, next to this one, and is opened at the first call
// that needs it: without a GPU, a driver or the file, everything else works.
#pragma once

#include <string>

#include "kernels/triangle_cuda.h"

namespace atmos {

struct CudaLibraryState {
  bool built = false;   // this build has the CUDA operators
  bool loaded = false;  // the library was found and opened
  std::string toolkit;
  std::string architectures;
  std::string error;  // why it could not be opened
};

// Tries to open the library; never raises.
CudaLibraryState cuda_library_state();

struct CudaFunctions {
  decltype(&atmos_tl_cuda_plan) plan = nullptr;
  decltype(&atmos_tl_cuda_nodes) nodes = nullptr;
  decltype(&atmos_tl_cuda_project) project = nullptr;
  decltype(&atmos_tl_cuda_finish) finish = nullptr;
  decltype(&atmos_tl_cuda_output_backward) output_backward = nullptr;
  decltype(&atmos_tl_cuda_input_backward) input_backward = nullptr;
  decltype(&atmos_tl_cuda_weight_gradient) weight_gradient = nullptr;
  decltype(&atmos_tl_cuda_sum) sum = nullptr;
  decltype(&atmos_cuda_error_string) error_string = nullptr;
};

// Raises with the reason when the library cannot be used.
const CudaFunctions& cuda_functions();

}  // namespace atmos
