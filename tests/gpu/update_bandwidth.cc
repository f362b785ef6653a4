#include "tests/gpu/update_bandwidth.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kElements = 124'000'000;
constexpr std::int64_t kChunk = 65536;
constexpr std::int64_t kParameters = 148;
constexpr int kCalls = 20;
constexpr int kRounds = 7;

// Seconds of one call: the median round's.
double TimeOf(const std::function<void()>& call) {
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  const c10::Stream stream = cuda.getStream(kGpu);
  call();
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    stream.synchronize();
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    stream.synchronize();
    rounds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() / kCalls);
  }
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
}

std::vector<Chunk> EvenChunks() {
  std::vector<Chunk> chunks;
  for (std::int64_t at = 0; at < kElements; at += kChunk) {
    chunks.push_back({at, std::min(kChunk, kElements - at), at * kParameters / kElements, 0});
  }
  return chunks;
}

}  // namespace

std::vector<UpdateBandwidth> MeasureUpdateBandwidth() {
  using at::Tensor;
  const Tensor parameters = at::randn({kElements}, at::TensorOptions(at::kFloat).device(kGpu));
  const Tensor gradients = at::randn_like(parameters);
  const Tensor exp_avg = at::zeros_like(parameters), exp_avg_sq = at::zeros_like(parameters);
  const std::vector<Chunk> table = EvenChunks();
  const Tensor chunks = ChunkTensor(table).to(kGpu);
  const Tensor rules = at::zeros({kParameters * static_cast<std::int64_t>(sizeof(UpdateRule))},
                                 at::TensorOptions(at::kByte).device(kGpu));
  const Tensor settings = BytesOf(OptimizerSettings()).to(kGpu);
  const Tensor state = BytesOf(StepState()).to(kGpu);
  const auto rows = [](std::size_t count) {
    return at::zeros({static_cast<std::int64_t>(count * sizeof(GradientStats))},
                     at::TensorOptions(at::kByte).device(kGpu));
  };
  const Tensor partial = rows(table.size()), stats = rows(kParameters);
  const auto grad_stats =
      FindOp<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&)>("mantissa::grad_stats");
  const UpdateCall update = {parameters, gradients, exp_avg, exp_avg_sq, chunks, rules, settings, state};
  const double bytes = static_cast<double>(kElements) * sizeof(float);
  return {{"copy", 2 * bytes / TimeOf([&] { exp_avg.copy_(gradients); })},
          {"grad_stats", bytes / TimeOf([&] { grad_stats.call(gradients, chunks, state, partial, stats); })},
          // Four read, three written.
          {"adamw", 7 * bytes / TimeOf([&] { OpAdam(update); })}};
}

}  // namespace mantissa::trainer
