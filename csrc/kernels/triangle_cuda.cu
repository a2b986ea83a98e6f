// The C interface of the triangle multiplicative update on a CUDA device: picks the tiles by dtype
// and width, and queues the kernels.
#include "triangle_cuda.h"

#include <type_traits>

#include "triangle_backward_cuda.h"

namespace {

using namespace atmos_layer;

// Row tiles that one part of a weight's gradient covers, at least; and most parts.
constexpr int64_t kTilesOfSplit = 8;
constexpr int64_t kMostSplits = 32;

constexpr int64_t kNarrow = 128;

bool supported(int64_t width) { return width >= 32 && width <= kMostChannels && width % 32 == 0; }

// Calls task with a Shape for the problem; kInvalidValue where there is none.
template <class Task>
int with_shape(const atmos_tl_problem& problem, const Task& task) {
  if (!supported(problem.channels) || !supported(problem.hidden)) return kInvalidValue;
  const bool narrow = widest(problem) <= kNarrow;
  switch (problem.dtype) {
    case ATMOS_F32:
      return narrow ? task(Shapes<float>::Narrow{}) : task(Shapes<float>::Wide{});
    case ATMOS_BF16:
      return narrow ? task(Shapes<BFloat16>::Narrow{}) : task(Shapes<BFloat16>::Wide{});
    default: return kInvalidValue;
  }
}

template <class S>
int64_t tiles_of(const atmos_tl_problem& problem, const S&) {
  const int64_t rows = problem.size * problem.size;
  return problem.batch * ((rows + S::kTileRows - 1) / S::kTileRows);
}

int64_t splits_of(int64_t tiles) {
  const int64_t splits = tiles / kTilesOfSplit;
  return splits < 1 ? 1 : (splits > kMostSplits ? kMostSplits : splits);
}

template <class Kernel>
int run(const atmos_tl_problem& problem, int64_t tiles,
        const typename Kernel::Arguments& arguments, void* stream) {
  if (tiles == 0) return 0;
  return launch<Kernel>(tiles, 1, Kernel::shared_bytes(problem), arguments, stream);
}

template <class Kernel>
int run_weights(const atmos_tl_problem& problem, const typename Kernel::Arguments& arguments,
                void* stream) {
  const int64_t columns = (arguments.width + Kernel::kColumns - 1) / Kernel::kColumns;
  return launch<Kernel>(columns, arguments.splits, Kernel::shared_bytes(problem), arguments,
                        stream);
}

}  // namespace

extern "C" atmos_tl_plan atmos_tl_cuda_plan(const atmos_tl_problem* problem) {
  atmos_tl_plan plan{0, 0};
  with_shape(*problem, [&](const auto& shape) {
    plan.tiles = tiles_of(*problem, shape);
    plan.splits = splits_of(plan.tiles);
    return 0;
  });
  return plan;
}

extern "C" int atmos_tl_cuda_nodes(const atmos_tl_problem* problem, int outgoing, float* nodes,
                                   void* stream) {
  constexpr int64_t kEach = Nodes::kThreads / 32;
  const int64_t blocks = (problem->batch * problem->size + kEach - 1) / kEach;
  if (blocks == 0) return 0;
  return launch<Nodes>(blocks, 1, 0,
                       {problem->mask, problem->batch, problem->size, outgoing, nodes}, stream);
}

extern "C" int atmos_tl_cuda_project(const atmos_tl_problem* problem, void* a, void* b,
                                     void* stream) {
  return with_shape(*problem, [&](const auto& shape) {
    using S = std::decay_t<decltype(shape)>;
    using T = typename S::T;
    return run<Project<S>>(*problem, tiles_of(*problem, shape),
                           {*problem, static_cast<T*>(a), static_cast<T*>(b)}, stream);
  });
}

extern "C" int atmos_tl_cuda_finish(const atmos_tl_problem* problem, const void* x, void* out,
                                    void* stream) {
  return with_shape(*problem, [&](const auto& shape) {
    using S = std::decay_t<decltype(shape)>;
    using T = typename S::T;
    return run<Finish<S>>(*problem, tiles_of(*problem, shape),
                          {*problem, static_cast<const T*>(x), static_cast<T*>(out)}, stream);
  });
}

extern "C" int atmos_tl_cuda_output_backward(const atmos_tl_problem* problem,
                                             const atmos_tl_pairs* grad, const void* x,
                                             void* grad_gate, void* grad_value, void* grad_x,
                                             float* parts, void* stream) {
  return with_shape(*problem, [&](const auto& shape) {
    using S = std::decay_t<decltype(shape)>;
    using T = typename S::T;
    return run<OutputBackward<S>>(
        *problem, tiles_of(*problem, shape),
        {*problem, *grad, static_cast<const T*>(x), static_cast<T*>(grad_gate),
         static_cast<T*>(grad_value), static_cast<T*>(grad_x), parts},
        stream);
  });
}

extern "C" int atmos_tl_cuda_input_backward(const atmos_tl_problem* problem,
                                            const atmos_tl_pairs* grad, const void* grad_a,
                                            const void* grad_b, const void* grad_gate,
                                            void* products, void* grad_z, float* parts,
                                            void* stream) {
  return with_shape(*problem, [&](const auto& shape) {
    using S = std::decay_t<decltype(shape)>;
    using T = typename S::T;
    return run<InputBackward<S>>(
        *problem, tiles_of(*problem, shape),
        {*problem, *grad, static_cast<const T*>(grad_a), static_cast<const T*>(grad_b),
         static_cast<const T*>(grad_gate), static_cast<T*>(products), static_cast<T*>(grad_z),
         parts},
        stream);
  });
}

extern "C" int atmos_tl_cuda_weight_gradient(const atmos_tl_problem* problem, const void* x,
                                             const void* grads, int64_t width, float* parts,
                                             void* stream) {
  return with_shape(*problem, [&](const auto& shape) {
    using S = std::decay_t<decltype(shape)>;
    using T = typename S::T;
    const int64_t tiles = tiles_of(*problem, shape);
    const T* rows = static_cast<const T*>(x);
    const T* given = static_cast<const T*>(grads);
    if (x != nullptr)
      return run_weights<WeightGradient<S, true>>(
          *problem, {*problem, rows, given, width, tiles, splits_of(tiles), parts}, stream);
    return run_weights<WeightGradient<S, false>>(
        *problem, {*problem, rows, given, width, tiles, splits_of(tiles), parts}, stream);
  });
}

extern "C" int atmos_tl_cuda_sum(const float* parts, int64_t count, int64_t width, float* scratch,
                                 float* out, void* stream) {
  const int64_t blocks = (width + SumParts::kThreads - 1) / SumParts::kThreads;
  while (true) {
    const int64_t groups = (count + SumParts::kGroup - 1) / SumParts::kGroup;
    float* const to = groups == 1 ? out : scratch;
    const int error =
        launch<SumParts>(blocks, groups, 0, {parts, count, width, to}, stream);
    if (error != 0 || groups == 1) return error;
    // A second round would read what it writes: parts and sums alternate within the scratch.
    parts = scratch;
    scratch += groups * width;
    count = groups;
  }
}

extern "C" const char* atmos_cuda_error_string(int error) { return error_string(error); }
