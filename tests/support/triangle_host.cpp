// A host without Python: loads the operator library and a saved module, and writes the output and
// the gradients of its square sum with respect to the input and every parameter.
#include <dlfcn.h>
#include <torch/script.h>

#include <iostream>

int main(int count, char** arguments) {
  if (count != 5) {
    std::cerr << "usage: host LIBRARY MODULE INPUTS RESULTS\n";
    return 2;
  }
  if (dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::cerr << dlerror() << "\n";
    return 1;
  }
  torch::jit::Module module = torch::jit::load(arguments[2]);
  const torch::jit::Module given = torch::jit::load(arguments[3]);
  const at::Tensor z = given.attr("z").toTensor().detach().set_requires_grad(true);
  const at::Tensor out = module.forward({z, given.attr("mask")}).toTensor();
  out.square().sum().backward();

  torch::jit::Module results("Results");
  int number = 0;
  const auto add = [&](const at::Tensor& tensor) {
    // All of five digits, so that names sort as they were added.
    const std::string name = "t" + std::to_string(10000 + number++);
    results.register_buffer(name, tensor.detach().clone());
  };
  add(out);
  add(z.grad());
  for (const at::Tensor& parameter : module.parameters()) {
    if (parameter.grad().defined()) add(parameter.grad());
  }
  results.save(arguments[4]);
  return 0;
}
