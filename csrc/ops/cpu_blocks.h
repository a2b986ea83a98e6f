// What CPU backends that work block by block share: parallel ranges in which torch's own products
// keep to one thread, and large pages for fresh tensors.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>

#include "kernels/triangle_rows_cpu.h"

namespace atmos {
namespace cpu {

using at::Tensor;

// Asks for large pages for a fresh tensor of many megabytes: faulting in planes page by page costs
// as much as a third of the layer. A hint; where the system has none it is ignored.
constexpr uintptr_t kLargePage = uintptr_t(1) << 21;
inline Tensor on_large_pages(const Tensor& fresh) {
#ifdef __linux__
  const uintptr_t begin = reinterpret_cast<uintptr_t>(fresh.const_data_ptr());
  const uintptr_t first = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t last = (begin + fresh.nbytes()) / kLargePage * kLargePage;
  if (first < last) (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return fresh;
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Runs task(begin, end) on ranges of [0, count). Two items at least: with more than one thread this
// is a parallel region then, in which a matrix product keeps to its own thread.
template <class Task>
void for_ranges(int64_t count, const Task& task) {
  at::parallel_for(0, std::max<int64_t>(count, 2), 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    if (begin < std::min(end, count)) task(begin, std::min(end, count));
  });
}

inline atmos_dtype kernel_dtype(at::ScalarType dtype) {
  if (dtype == at::kDouble) return ATMOS_F64;
  return dtype == at::kBFloat16 ? ATMOS_BF16 : ATMOS_F32;
}

// Start of one system in a tensor whose first dimension is the batch.
inline char* base(const Tensor& tensor, int64_t batch) {
  return static_cast<char*>(const_cast<void*>(tensor.const_data_ptr())) +
         batch * tensor.stride(0) * tensor.element_size();
}

inline atmos_tr_pairs pairs(const Tensor& tensor, int64_t batch) {
  return {base(tensor, batch), tensor.stride(1), tensor.stride(2)};
}

}  // namespace cpu
}  // namespace atmos
