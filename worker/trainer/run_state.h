// Everything a checkpoint holds, and its only owner.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include <ATen/core/Tensor.h>

#include "mantissa/v1/training.pb.h"
#include "worker/amp/iteration.h"
#include "worker/models/model.h"
#include "worker/optim/optimizer.h"

namespace mantissa::trainer {

// A state by itself: warm-up, rollback, fallback and resume are all a Restore of one.
struct RunSnapshot {
  std::vector<NamedTensor> model;      // parameters, then buffers, in the model's order
  std::vector<NamedTensor> optimizer;  // moments
  StepState step;
  std::int32_t lineage = 1;
};

struct RunStateOptions {
  v1::OptimizerSpec optimizer;
  v1::ScheduleSpec schedule;
  std::int64_t horizon = 1;  // length in iterations
  ScalerSettings scaler;
  spec::ParameterGroups groups = {};
  std::optional<WeightStorage> stored_weights = std::nullopt;
  std::int32_t lineage = 1;
};

// Not thread-safe.
class RunState {
 public:
  RunState(std::unique_ptr<Model> model, const RunStateOptions& options, at::Device device);
  RunState(const RunState&) = delete;
  RunState& operator=(const RunState&) = delete;

  Model& model() { return *model_; }
  Optimizer& optimizer() { return optimizer_; }
  IterationState& iteration_state() { return iteration_; }
  const at::Device& device() const { return device_; }

  // Waits for the device where that is not the CPU.
  StepState step_state() const;
  std::int32_t lineage() const { return lineage_; }

  // The live tensors, to be read before the next iteration.
  RunSnapshot View() const;
  // Copies, on the CPU.
  RunSnapshot Snapshot() const;

  // Takes over every value, or none: FAILED_PRECONDITION names a tensor that is missing, unknown, or of another shape.
  absl::Status Restore(const RunSnapshot& snapshot);

  // Every parameter, buffer and moment.
  bool IsFinite() const;

 private:
  const at::Device device_;
  const std::unique_ptr<Model> model_;
  Optimizer optimizer_;
  IterationState iteration_;
  std::int32_t lineage_;
};

}  // namespace mantissa::trainer
