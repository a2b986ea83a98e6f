// CPU backend: splits the kernel's units of work over torch's threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <torch/library.h>

#include <algorithm>

#include "kernels/triangle_contraction_cpu.h"
#include "triangle_common.h"

namespace atmos {
namespace {

// Least multiply-adds worth a thread of their own.
constexpr int64_t kGrainOperations = 1 << 18;
constexpr int64_t kFewestRows = 16;

void solve(const atmos_tc_problem& problem) {
  atmos_tc_cpu_plan plan = atmos_tc_cpu_make_plan(&problem, 0);
  if (plan.units == 0) return;
  // Cut finer where threads would idle; the results do not change.
  const int64_t threads = at::get_num_threads();
  for (int64_t rows = plan.rows / 2; threads > 1 && plan.units < 2 * threads && rows >= kFewestRows;
       rows /= 2)
    plan = atmos_tc_cpu_make_plan(&problem, rows);
  const int64_t operations =
      problem.batch * problem.size * problem.size * problem.size * problem.channels;
  const int64_t grain = std::max<int64_t>(1, kGrainOperations * plan.units / operations);
  at::parallel_for(0, plan.units, grain, [&](int64_t begin, int64_t end) {
    const c10::DataPtr workspace = c10::GetCPUAllocator()->allocate(plan.workspace_bytes);
    atmos_tc_cpu_run(&problem, &plan, begin, end, workspace.get());
  });
}

Tensor triangle_contraction_cpu(const Tensor& a, const Tensor& b, const Tensor& mask,
                                bool outgoing) {
  check_triangle_arguments(a, b, mask);
  Tensor out = at::empty(a.sizes(), a.options(), at::MemoryFormat::Contiguous);
  const Tensor a_ready = with_contiguous_channels(a);
  const Tensor b_ready = with_contiguous_channels(b);
  const Tensor mask_ready = mask_for_kernel(mask, a.scalar_type());
  solve(forward_problem(a_ready, b_ready, mask_ready, outgoing, out));
  return out;
}

std::tuple<Tensor, Tensor> triangle_contraction_backward_cpu(const Tensor& grad, const Tensor& a,
                                                             const Tensor& b, const Tensor& mask,
                                                             bool outgoing) {
  check_triangle_arguments(a, b, mask);
  check_triangle_gradient(grad, a);
  Tensor grad_a = at::empty(a.sizes(), a.options(), at::MemoryFormat::Contiguous);
  Tensor grad_b = at::empty(b.sizes(), b.options(), at::MemoryFormat::Contiguous);
  const Tensor grad_ready = with_contiguous_channels(grad);
  const Tensor a_ready = with_contiguous_channels(a);
  const Tensor b_ready = with_contiguous_channels(b);
  const Tensor mask_ready = mask_for_kernel(mask, a.scalar_type());
  solve(gradient_a_problem(grad_ready, b_ready, mask_ready, outgoing, grad_a));
  solve(gradient_b_problem(grad_ready, a_ready, mask_ready, outgoing, grad_b));
  return {grad_a, grad_b};
}

}  // namespace
}  // namespace atmos

TORCH_LIBRARY_IMPL(atmos, CPU, m) {
  m.impl("triangle_contraction", TORCH_FN(atmos::triangle_contraction_cpu));
  m.impl("triangle_contraction_backward", TORCH_FN(atmos::triangle_contraction_backward_cpu));
}
