// AdamW, Adam and SGD over a model's flat buffers, one op a step for all parameter groups.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/parameter_groups.h"
#include "worker/models/parameter_buffer.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer {

// Parameters must outlive it. Not thread-safe.
class Optimizer {
 public:
  // `spec` has its defaults resolved; `horizon` is the run's length in iterations; `groups` are well-formed.
  Optimizer(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule, std::int64_t horizon,
            ParameterBuffer& parameters, const spec::ParameterGroups& groups = {});

  // One update with the state's factor and step, at the schedule's rate (that of no group), which it writes into the
  // state; stored weights follow. With found_inf or halt set no bit of parameters, weights and moments changes.
  // `state`: see IterationState::state().
  void Step(const at::Tensor& state);

  // The moments as flat buffers in the parameters' layout: `exp_avg` and `exp_avg_sq`, or `momentum`; none for SGD
  // without momentum.
  const std::vector<NamedTensor>& flat_state() const { return state_; }
  // The same per parameter, as views: `exp_avg.head.weight`. What a checkpoint holds.
  std::vector<NamedTensor> StateTensors() const;

  const OptimizerSettings& settings() const { return settings_; }
  // One for each parameter.
  const std::vector<UpdateRule>& rules() const { return rules_; }

 private:
  ParameterBuffer& parameters_;
  const OptimizerSettings settings_;
  const std::vector<UpdateRule> rules_;
  at::Tensor settings_tensor_;
  at::Tensor rules_tensor_;
  std::vector<NamedTensor> state_;
};

}  // namespace mantissa::trainer
