// A run that a test moves by hand, on the GPU or on the CPU, and the bits of its state.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/job.pb.h"
#include "process/roots.h"
#include "proto/spec/defaults.h"
#include "tests/gpu/gpu.h"
#include "worker/amp/loss_scaler.h"
#include "worker/data/load_data.h"
#include "worker/models/model.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

class NeverStop final : public Control {
 public:
  bool stop_requested() override { return false; }
};

class GpuRun {
 public:
  // `precision`: more of its spec. `deterministic`: as execution.deterministic. Without `data`, the spec's own.
  GpuRun(at::Device device, const std::string& training, v1::PrecisionSpec::Mode mode,
         const std::string& precision = "", bool deterministic = false, std::unique_ptr<Dataset> data = nullptr)
      : spec_(Spec(training, mode, precision)),
        data_(data != nullptr ? std::move(data) : Load(spec_.training())),
        policy_(mode),
        plan_({.samples = data_->size(),
               .batch_size = spec_.training().batch_size(),
               .accumulation = spec_.training().accumulation(),
               .seed = spec_.training().seed()}),
        state_(BuildModel(spec_.training().model(), data_->shape().sample, spec_.training().seed(), device),
               {spec_.training().optimizer(), spec_.training().schedule(), spec_.training().iterations(),
                ScalerSettingsFrom(spec_.training().precision(), spec_.training().max_grad_norm()),
                spec_.training().parameter_groups(),
                WeightStorageOf(spec_.training().precision(),
                                spec::ModelParameters(spec_.training().model(), data_->shape().sample), device)},
               device),
        program_(state_, {*data_, plan_, policy_, spec_.training().seed()}) {
    data_->MoveTo(device);
    ResetProcess({.deterministic = deterministic, .tf32 = mode == v1::PrecisionSpec::TF32});
  }

  RunState& state() { return state_; }
  StepProgram& program() { return program_; }
  const Dataset& data() const { return *data_; }
  const PrecisionPolicy& policy() const { return policy_; }

  // One more iteration; its state.
  StepState Iterate() {
    NeverStop control;
    EXPECT_TRUE(program_.Run(state_.step_state().iteration, control));
    return state_.step_state();
  }

 private:
  static v1::JobSpec Spec(const std::string& training, v1::PrecisionSpec::Mode mode, const std::string& precision) {
    v1::JobSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        absl::StrCat("training { precision { mode: ", v1::PrecisionSpec::Mode_Name(mode), " ", precision,
                     " } batch_size: 32 iterations: 40 seed: 5 }"),
        &spec));
    EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(absl::StrCat("training { ", training, " }"), &spec));
    return spec::ResolveDefaults(spec);
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

// Every bit of a state by name.
inline std::map<std::string, std::string> BitsOf(const RunSnapshot& snapshot) {
  std::map<std::string, std::string> bits;
  for (const auto* tensors : {&snapshot.model, &snapshot.optimizer}) {
    for (const NamedTensor& tensor : *tensors) {
      const at::Tensor host = tensor.tensor.detach().cpu().contiguous();
      bits[tensor.name] = {static_cast<const char*>(host.const_data_ptr()), host.nbytes()};
    }
  }
  return bits;
}

inline std::vector<std::string> Differences(const RunSnapshot& a, const RunSnapshot& b) {
  const auto bits_of_a = BitsOf(a);
  const auto bits_of_b = BitsOf(b);
  EXPECT_EQ(bits_of_a.size(), bits_of_b.size());
  std::vector<std::string> names;
  for (const auto& [name, bits] : bits_of_a) {
    if (!bits_of_b.contains(name) || bits_of_b.at(name) != bits) names.push_back(name);
  }
  return names;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mantissa-gpu-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace mantissa::trainer
