// A stream that is being captured refuses whatever waits for the device, so capturing an iteration's ops shows that
// none of them does; what was captured then has to do what the ops do when they are called.
#include <dlfcn.h>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/iteration.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer {
namespace {

// The CUDA runtime that this process has loaded, without its headers; all functions return 0 on success.
template <class... Arguments>
int Cuda(const char* name, Arguments... arguments) {
  const auto function = reinterpret_cast<int (*)(Arguments...)>(::dlsym(RTLD_DEFAULT, name));
  EXPECT_NE(function, nullptr) << name;
  return function == nullptr ? -1 : function(arguments...);
}

constexpr int kCaptureThreadLocal = 1;

struct Work {
  at::Tensor logits = at::randn({64, 10}).to(kGpu);
  at::Tensor targets = at::randint(0, 10, {64}, at::kLong).to(kGpu);
  at::Tensor parameters = at::randn({1000}).to(kGpu);
  at::Tensor gradients = at::randn({1000}).to(kGpu);
  at::Tensor exp_avg = at::zeros({1000}).to(kGpu);
  at::Tensor exp_avg_sq = at::zeros({1000}).to(kGpu);
  at::Tensor chunks = ChunkTensor({{0, 1000, 0, 0}}).to(kGpu);
  at::Tensor rules = BytesOf(UpdateRule{.rate_factor = 0.5, .weight_decay = 0.1}).to(kGpu);
  at::Tensor settings = BytesOf(OptimizerSettings()).to(kGpu);
  IterationState iteration{ScalerSettings(), chunks, 1, kGpu};

  void Run() {
    using at::Tensor;
    const c10::AutoGradMode off(false);
    const Tensor dropped = OpDropout(logits, 0.1, DropoutKey());
    const Tensor loss = OpCrossEntropy(dropped, targets);
    const auto [sum, normalizers] =
        FindOp<std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&)>("mantissa::cross_entropy_forward")
            .call(dropped, targets);
    FindOp<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&)>("mantissa::cross_entropy_backward")
        .call(iteration.BackwardSeed(64), dropped, targets, normalizers);
    iteration.Measure(gradients);
    iteration.Judge(loss, 64);
    OpAdam({parameters, gradients, exp_avg, exp_avg_sq, chunks, rules, settings, iteration.state()});
    OpSgd({parameters, gradients, {}, {}, chunks, rules, settings, iteration.state()});
    iteration.Finish();
  }
};

TEST(GpuCaptureTest, AnIterationsOpsAreCapturedAndReplayed) {
  at::manual_seed(12);
  Work work;
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  const c10::Stream side = cuda.getStreamFromGlobalPool(kGpu, false);
  const c10::StreamGuard guard(side);
  work.Run();  // so that the allocator holds what the captured one will ask for
  ASSERT_EQ(work.iteration.ReadState().step, 1);
  ASSERT_EQ(Cuda("cudaDeviceSynchronize"), 0);

  void* const stream = side.native_handle();
  void* graph = nullptr;
  ASSERT_EQ(Cuda("cudaStreamBeginCapture", stream, kCaptureThreadLocal), 0);
  work.Run();
  ASSERT_EQ(Cuda("cudaStreamEndCapture", stream, &graph), 0) << "an op waited for the device";
  ASSERT_NE(graph, nullptr);
  void* executable = nullptr;
  ASSERT_EQ(Cuda("cudaGraphInstantiate", &executable, graph, 0ull), 0);
  EXPECT_EQ(work.iteration.ReadState().step, 1) << "a capture runs nothing";
  const at::Tensor before = work.parameters.clone();

  for (int i = 0; i < 2; ++i) ASSERT_EQ(Cuda("cudaGraphLaunch", executable, stream), 0);
  EXPECT_EQ(work.iteration.ReadState().step, 3);
  EXPECT_FALSE(at::equal(work.parameters, before));
  EXPECT_EQ(Cuda("cudaGraphExecDestroy", executable), 0);
  EXPECT_EQ(Cuda("cudaGraphDestroy", graph), 0);
}

}  // namespace
}  // namespace mantissa::trainer
