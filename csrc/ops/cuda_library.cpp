#include "cuda_library.h"

#include <c10/util/Exception.h>

#ifdef ATMOS_WITH_CUDA
#include <dlfcn.h>

#include <type_traits>
#endif

namespace atmos {

#ifdef ATMOS_WITH_CUDA

namespace {

constexpr const char* kFile = "libatmos_kernels_cuda.so";

struct Opened {
  CudaFunctions functions;
  std::string error;
};

// Folder of the library that this code is in, with its trailing slash; empty if unknown.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0 || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

Opened open_library() {
  Opened result;
  const std::string path = own_folder() + kFile;
  // Never closed: kernels may still be running when a module is unloaded.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    result.error = dlerror();
    return result;
  }
  bool complete = true;
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
    complete = complete && function != nullptr;
  };
  CudaFunctions& functions = result.functions;
  find("atmos_tl_cuda_plan", functions.plan);
  find("atmos_tl_cuda_nodes", functions.nodes);
  find("atmos_tl_cuda_project", functions.project);
  find("atmos_tl_cuda_finish", functions.finish);
  find("atmos_tl_cuda_output_backward", functions.output_backward);
  find("atmos_tl_cuda_input_backward", functions.input_backward);
  find("atmos_tl_cuda_weight_gradient", functions.weight_gradient);
  find("atmos_tl_cuda_sum", functions.sum);
  find("atmos_cuda_error_string", functions.error_string);
  if (!complete) result.error = path + " lacks a function of this version of atmos_openmm";
  return result;
}

const Opened& opened() {
  static const Opened once = open_library();
  return once;
}

}  // namespace

CudaLibraryState cuda_library_state() {
  CudaLibraryState state;
  state.built = true;
  state.toolkit = ATMOS_CUDA_TOOLKIT;
  state.architectures = ATMOS_CUDA_ARCHITECTURES;
  state.error = opened().error;
  state.loaded = state.error.empty();
  return state;
}

const CudaFunctions& cuda_functions() {
  TORCH_CHECK(opened().error.empty(), "atmos: the CUDA kernels could not be loaded: ",
              opened().error,
              ". Reinstall atmos_openmm, or move the tensors to the CPU, which works without them.");
  return opened().functions;
}

#else

CudaLibraryState cuda_library_state() { return {}; }

const CudaFunctions& cuda_functions() {
  TORCH_CHECK(false, "atmos: built without CUDA. Install with nvcc on the PATH to have it.");
}

#endif

}  // namespace atmos
