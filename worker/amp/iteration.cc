#include "worker/amp/iteration.h"

#include <cstddef>
#include <cstring>
#include <optional>

#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "worker/amp/loss_scaler.h"
#include "worker/amp/op.h"
#include "worker/amp/step_decisions.h"

namespace mantissa::trainer {
namespace {

at::Tensor ByteTensor(std::int64_t bytes) { return at::zeros({bytes}, at::kByte); }

template <class T>
at::Tensor TensorOf(const T& value, at::Device device) {
  at::Tensor bytes = ByteTensor(sizeof(T));
  std::memcpy(bytes.data_ptr(), &value, sizeof(T));
  return bytes.to(device);
}

// A field of the state, 0-dim; all of them are four bytes.
at::Tensor FieldOf(const at::Tensor& state, std::size_t offset, at::ScalarType type) {
  return state.narrow(0, static_cast<std::int64_t>(offset), 4).view(type).squeeze(0);
}

}  // namespace

IterationState::IterationState(const ScalerSettings& settings, const at::Tensor& chunks, std::int64_t parameter_count,
                               at::Device device)
    : settings_(settings),
      settings_tensor_(TensorOf(settings, device)),
      chunks_(chunks),
      state_(TensorOf(InitialStepState(settings), device)),
      found_inf_(FieldOf(state_, offsetof(StepState, found_inf), at::kFloat)),
      halt_(FieldOf(state_, offsetof(StepState, halt), at::kInt)),
      seed_(at::zeros({}, at::TensorOptions(at::kFloat).device(device))),
      chunk_stats_(ByteTensor(chunks.size(0) * static_cast<std::int64_t>(sizeof(GradientStats))).to(device)),
      stats_(ByteTensor(parameter_count * static_cast<std::int64_t>(sizeof(GradientStats))).to(device)) {}

const at::Tensor& IterationState::BackwardSeed(std::int64_t targets) {
  TORCH_CHECK(targets > 0, "a window without valid targets has no loss");
  if (state_.is_cpu()) {
    const auto& state = *static_cast<const StepState*>(state_.const_data_ptr());
    *seed_.mutable_data_ptr<float>() = BackwardSeedOf(state, static_cast<double>(targets));
  } else {
    using at::Tensor;
    using Optional = std::optional<Tensor>;
    static const auto op = FindOp<void(const Tensor&, double, const Tensor&, const Optional&, const Optional&,
                                       const Optional&, const Optional&)>("mantissa::begin_iteration");
    op.call(state_, static_cast<double>(targets), seed_, std::nullopt, std::nullopt, std::nullopt, std::nullopt);
  }
  return seed_;
}

void IterationState::Measure(const at::Tensor& gradients) {
  static const auto op =
      FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
          "mantissa::grad_stats");
  op.call(gradients, chunks_, state_, chunk_stats_, stats_);
}

void IterationState::Judge(const at::Tensor& loss_sum, std::int64_t targets) {
  static const auto op =
      FindOp<void(const at::Tensor&, const at::Tensor&, double, const at::Tensor&, const at::Tensor&)>(
          "mantissa::verdict");
  op.call(stats_, loss_sum, static_cast<double>(targets), settings_tensor_, state_);
}

void IterationState::Finish() {
  static const auto op = FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::update_scale");
  op.call(settings_tensor_, state_);
}

// A halted iteration leaves the last verdict where it was.
at::Tensor IterationState::Applied() const { return at::logical_and(found_inf_.eq(0), halt_.eq(0)); }

StepState IterationState::ReadState() const {
  const at::Tensor host = state_.cpu();
  StepState state;
  std::memcpy(&state, host.const_data_ptr(), sizeof(state));
  return state;
}

void IterationState::WriteState(const StepState& state) {
  const at::Tensor host = TensorOf(state, at::kCPU);
  state_.copy_(host);
}

std::vector<GradientStats> IterationState::ReadStats() const {
  const at::Tensor host = stats_.cpu();
  std::vector<GradientStats> stats(static_cast<std::size_t>(host.numel()) / sizeof(GradientStats));
  std::memcpy(stats.data(), host.const_data_ptr(), stats.size() * sizeof(GradientStats));
  return stats;
}

}  // namespace mantissa::trainer
