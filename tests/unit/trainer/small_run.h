// A run small enough to be followed by hand: a classifier on a few seeded samples, and all that an iteration needs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/job.pb.h"
#include "proto/spec/defaults.h"
#include "tests/unit/trainer/bits.h"
#include "tests/unit/trainer/fake_control.h"
#include "worker/amp/loss_scaler.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/load_data.h"
#include "worker/models/model.h"
#include "worker/trainer/run_checkpoints.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// With its defaults resolved. `changes` is text that is merged into `training`.
inline v1::JobSpec SmallSpec(const std::string& changes = "") {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { mlp {} } data { train { synthetic { samples: 32 shape: 6 classes: 3 } } } "
      "precision { mode: FP32 } batch_size: 8 iterations: 20 }",
      &spec));
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString("training {" + changes + "}", &spec)) << changes;
  return spec::ResolveDefaults(spec);
}

// `count` samples of `width` features, all of them `value`, with labels 0, 1, 2, 0, ...
inline std::unique_ptr<Dataset> ConstantData(float value, std::int64_t count = 32, std::int64_t width = 6) {
  return std::make_unique<FeatureDataset>(at::full({count, width}, value), at::arange(count).remainder(3), 3);
}

// Ones, all of them of class 0. The gradients of the head's bias then have one sign for each class, so that what
// overflows is Inf; Inf of both signs would add up to NaN.
inline std::unique_ptr<Dataset> OneClassData() {
  return std::make_unique<FeatureDataset>(at::ones({32, 6}), at::zeros({32}, at::kLong), 3);
}

struct SmallRunOptions {
  std::unique_ptr<Dataset> data = nullptr;  // the spec's own
  ActivationProbe* probe = nullptr;
  std::int32_t replay_after = 0;  // see ScalerSettings
  v1::Lineage lineage = {};
};

class SmallRun {
 public:
  // Without `data`, the spec's own.
  explicit SmallRun(const std::string& changes = "", std::unique_ptr<Dataset> data = nullptr)
      : SmallRun(changes, SmallRunOptions{std::move(data)}) {}

  SmallRun(const std::string& changes, SmallRunOptions options)
      : spec_(SmallSpec(changes)),
        data_(options.data != nullptr ? std::move(options.data) : Load(training())),
        policy_(training().precision(), Shapes(), {}),
        plan_({.samples = data_->size(),
               .batch_size = training().batch_size(),
               .accumulation = training().accumulation(),
               .seed = training().seed(),
               .lineage = options.lineage}),
        state_(BuildModel(training().model(), data_->shape().sample, training().seed(), at::kCPU),
               {training().optimizer(), training().schedule(), training().iterations(),
                Scaler(training(), options.replay_after), training().parameter_groups(),
                WeightStorageOf(training().precision(), Shapes(), at::kCPU)},
               at::kCPU),
        program_(state_, {*data_, plan_, policy_, training().seed(), options.probe}) {}

  const v1::JobSpec& spec() const { return spec_; }
  const v1::TrainingSpec& training() const { return spec_.training(); }
  const Dataset& data() const { return *data_; }
  const PrecisionPolicy& policy() const { return policy_; }
  const BatchPlan& plan() const { return plan_; }
  RunState& state() { return state_; }
  StepProgram& program() { return program_; }

  // Up to this iteration.
  void TrainTo(std::int64_t iteration) {
    FakeControl control;
    while (state_.step_state().iteration < iteration) {
      ASSERT_TRUE(program_.Run(state_.step_state().iteration, control));
    }
  }

 private:
  std::vector<spec::Parameter> Shapes() const {
    return spec::ModelParameters(training().model(), data_->shape().sample);
  }
  static ScalerSettings Scaler(const v1::TrainingSpec& training, std::int32_t replay_after) {
    ScalerSettings settings = ScalerSettingsFrom(training.precision(), training.max_grad_norm());
    settings.replay_after = replay_after;
    settings.first_replay_after = std::min(settings.first_replay_after, replay_after);
    return settings;
  }
  static std::unique_ptr<Dataset> Load(const v1::TrainingSpec& training) {
    auto data = LoadTrainingData(training, process::Roots(), std::int64_t{1} << 30);
    EXPECT_TRUE(data.ok()) << data.status();
    return std::move(data->train);
  }

  const v1::JobSpec spec_;
  const std::unique_ptr<Dataset> data_;
  const PrecisionPolicy policy_;
  const BatchPlan plan_;
  RunState state_;
  StepProgram program_;
};

inline RunCheckpointOptions CheckpointsOf(const std::string& job_id, std::int64_t windows_per_epoch = 1) {
  RunCheckpointOptions options;
  options.job_id = job_id;
  options.windows_per_epoch = windows_per_epoch;
  return options;
}

}  // namespace mantissa::trainer
