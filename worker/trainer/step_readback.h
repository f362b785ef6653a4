// The way of what iterations leave on the device to a host that does not wait for each of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include "worker/amp/iteration.h"

namespace mantissa::trainer {

// A ring of copies, each of the state and the gradients' statistics as one iteration left them. Not thread-safe.
class StepReadback {
 public:
  // `iteration` must outlive it; at most `capacity` copies are pending.
  StepReadback(const IterationState& iteration, int capacity);

  // Begins to copy what the iteration started last will leave. Waits for nothing.
  void Start();
  // Waits for the oldest pending copy.
  StepState Finish();
  // Of the copy that was finished last; valid until the next Start.
  std::span<const GradientStats> stats() const;

  int pending() const { return pending_; }

 private:
  struct Slot {
    at::Tensor state;
    at::Tensor stats;
    std::optional<c10::Event> copied;  // none on CPU, where a copy is made at once
  };

  const IterationState& iteration_;
  std::vector<Slot> slots_;
  std::size_t oldest_ = 0;
  std::size_t finished_ = 0;
  int pending_ = 0;
};

}  // namespace mantissa::trainer
