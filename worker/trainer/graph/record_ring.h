// The way of what iterations leave to a host that polls for it, and never asks the device.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "worker/amp/iteration.h"
#include "worker/kernels/publish_record/step_record.h"
#include "worker/trainer/device_api.h"
#include "worker/trainer/graph/mapped_memory.h"

namespace mantissa::trainer {

// Invariants: records are expected in the order in which their publication was started; never more are pending than
// there are slots, so that none is overwritten before it was read. Not thread-safe, but for the device, which writes.
class RecordRing {
 public:
  // At most `slots` records are pending. Throws c10::Error where there is no memory for it. References outlive it.
  RecordRing(const MantissaRecorder& recorder, const IterationState& iteration, int slots);

  // Starts the op that publishes what the iteration before it on the stream leaves: the last of what is recorded.
  void Publish();
  // Publish has been started once more, by itself or in a graph.
  void Expect();

  // Waits for the oldest that is pending, by looking at its slot. Throws c10::Error when the device has failed, or has
  // come to its end without writing it. Valid until the next Expect.
  const StepRecord& Await();
  // Of that record, where its iteration was skipped.
  std::span<const GradientStats> stats() const;

  int pending() const { return static_cast<int>(expected_ - awaited_); }

 private:
  const unsigned char* SlotOf(std::uint64_t sequence) const;
  static bool HasArrived(const StepRecord& record, std::uint64_t sequence);
  // Throws where the record will never come.
  void CheckDevice(const StepRecord& record, std::uint64_t sequence) const;

  const MantissaRecorder& recorder_;
  const IterationState& iteration_;
  const std::int64_t parameter_count_;
  const int slots_;
  const MappedMemory memory_;
  const at::Tensor cursor_;  // records published; the device's
  std::uint64_t expected_ = 0;
  std::uint64_t awaited_ = 0;
};

}  // namespace mantissa::trainer
