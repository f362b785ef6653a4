#include "worker/trainer/step_readback.h"

#include <cstring>
#include <utility>

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer {
namespace {

// Pinned, so that a copy from the device does not wait.
at::Tensor HostCopyOf(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), at::TensorOptions(at::kByte).pinned_memory(!tensor.is_cpu()));
}

}  // namespace

StepReadback::StepReadback(const IterationState& iteration, int capacity) : iteration_(iteration) {
  TORCH_CHECK(capacity >= 1, "a readback of ", capacity, " iterations");
  const at::DeviceType device = iteration.state().device().type();
  for (int i = 0; i < capacity; ++i) {
    Slot slot{HostCopyOf(iteration.state()), HostCopyOf(iteration.stats()), std::nullopt};
    if (device != at::kCPU) slot.copied.emplace(device);
    slots_.push_back(std::move(slot));
  }
}

void StepReadback::Start() {
  TORCH_INTERNAL_ASSERT(pending_ < static_cast<int>(slots_.size()), "every copy is pending");
  Slot& slot = slots_[(oldest_ + static_cast<std::size_t>(pending_)) % slots_.size()];
  ++pending_;
  if (!slot.copied) {
    std::memcpy(slot.state.mutable_data_ptr(), iteration_.state().const_data_ptr(), slot.state.nbytes());
    std::memcpy(slot.stats.mutable_data_ptr(), iteration_.stats().const_data_ptr(), slot.stats.nbytes());
    return;
  }
  const at::Device device = iteration_.state().device();
  slot.state.copy_(iteration_.state(), /*non_blocking=*/true);
  slot.stats.copy_(iteration_.stats(), /*non_blocking=*/true);
  slot.copied->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

StepState StepReadback::Finish() {
  TORCH_INTERNAL_ASSERT(pending_ > 0, "no copy is pending");
  finished_ = oldest_;
  oldest_ = (oldest_ + 1) % slots_.size();
  --pending_;
  const Slot& slot = slots_[finished_];
  if (slot.copied) slot.copied->synchronize();
  StepState state;
  std::memcpy(&state, slot.state.const_data_ptr(), sizeof(state));
  return state;
}

std::span<const GradientStats> StepReadback::stats() const {
  const at::Tensor& stats = slots_[finished_].stats;
  return {static_cast<const GradientStats*>(stats.const_data_ptr()), stats.nbytes() / sizeof(GradientStats)};
}

}  // namespace mantissa::trainer
