// A golden (what PyTorch did, made by make_goldens.py), and a run of ours that is put into its states, on any device.
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "proto/spec/defaults.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/amp/loss_scaler.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/models/model.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

inline std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/engine")) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The whole data in every window, in the golden's order, whatever order is asked for.
class WholeData final : public Dataset {
 public:
  WholeData(at::Tensor input, at::Tensor target, DataShape shape)
      : input_(std::move(input)), target_(std::move(target)), shape_(std::move(shape)) {}

  std::int64_t size() const override { return input_.size(0); }
  const DataShape& shape() const override { return shape_; }
  void Gather(std::span<const std::int64_t> indices, Batch& batch) const override {
    ASSERT_EQ(static_cast<std::int64_t>(indices.size()), size());
    batch = {input_, target_, target_.numel()};
  }
  void MoveTo(at::Device device) override {
    input_ = input_.to(device);
    target_ = target_.to(device);
  }

 private:
  at::Tensor input_;
  at::Tensor target_;
  const DataShape shape_;
};

class Golden {
 public:
  explicit Golden(const std::string& name) {
    std::ifstream in("tests/golden/engine/" + name + ".safetensors", std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    auto parsed = ParseSafetensors(bytes_);
    if (!parsed.ok()) throw std::runtime_error(name + ": " + std::string(parsed.status().message()));
    file_ = *std::move(parsed);
    v1::JobSpec spec;
    const auto read =
        google::protobuf::util::JsonStringToMessage(file_.metadata.at("training"), spec.mutable_training());
    if (!read.ok()) throw std::runtime_error(name + ": " + std::string(read.message()));
    training_ = spec::ResolveDefaults(spec).training();
  }

  const v1::TrainingSpec& training() const { return training_; }
  v1::PrecisionSpec::Mode mode() const { return training_.precision().mode(); }
  nlohmann::json Said(const std::string& what) const { return nlohmann::json::parse(file_.metadata.at(what)); }
  // The CPU that it was made on adds numbers up in the order of this one: they have the same vector units.
  bool IsOfSuchACpu() const {
    const std::string& by = file_.metadata.at("made_by");  // `torch 2.11.0+cu130, AVX2, x86_64; ...`
    return by.substr(0, by.find(';')).find(", " + CpuCapability() + ",") != std::string::npos;
  }

  at::Tensor Tensor(const std::string& name) const {
    const TensorView* const view = file_.Find(name);
    if (view == nullptr) throw std::runtime_error("the golden has no " + name);
    const at::ScalarType type = view->type == TensorType::kI64 ? at::kLong : at::kFloat;
    return at::from_blob(const_cast<char*>(view->bytes.data()), view->shape, at::TensorOptions(type)).clone();
  }
  at::Tensor Part(int iteration, const std::string& part) const {
    char name[64];
    std::snprintf(name, sizeof(name), "iteration-%03d.%s", iteration, part.c_str());
    return Tensor(name);
  }

  std::unique_ptr<Dataset> Data() const {
    at::Tensor input = Tensor("data.input");
    at::Tensor target = Tensor("data.target");
    DataShape shape;
    if (training_.model().has_gpt()) {
      shape.sample.classes = training_.model().gpt().vocabulary();
      shape.context = input.size(1);
    } else {
      shape.sample = {.features = input.sizes().slice(1).vec(), .classes = target.max().item<std::int64_t>() + 1};
    }
    return std::make_unique<WholeData>(input, target, shape);
  }

 private:
  std::string bytes_;
  SafetensorsFile file_;
  v1::TrainingSpec training_;
};

// A run of ours that is put into a golden's states.
class Subject {
 public:
  Subject(const Golden& golden, at::Device device)
      : golden_(golden),
        data_(DataOn(device, golden)),
        state_(BuildModel(golden.training().model(), data_->shape().sample, 1, device),
               {golden.training().optimizer(), golden.training().schedule(), golden.training().iterations(),
                ScalerSettingsFrom(golden.training().precision(), golden.training().max_grad_norm()),
                golden.training().parameter_groups(),
                WeightStorageOf(golden.training().precision(),
                                spec::ModelParameters(golden.training().model(), data_->shape().sample), device)},
               device),
        program_(state_, {*data_, BatchPlan({.samples = data_->size(), .batch_size = golden.training().batch_size()}),
                          PrecisionPolicy(golden.mode()), 0}) {}

  const std::vector<Parameter>& parameters() { return state_.model().parameters().parameters(); }
  StepState step() const { return state_.step_state(); }

  // Parameters and moments as recorded before this iteration.
  void GoTo(int iteration) {
    const nlohmann::json said = golden_.Said("iterations").at(std::to_string(iteration));
    RunSnapshot snapshot = state_.Snapshot();
    Fill(snapshot.model, 0, golden_.Part(iteration, "parameters"));
    const std::size_t count = parameters().size();
    Fill(snapshot.optimizer, 0, golden_.Part(iteration, "exp_avg"));
    Fill(snapshot.optimizer, count, golden_.Part(iteration, "exp_avg_sq"));
    snapshot.step.iteration = iteration;
    snapshot.step.step = said.at("step");
    if (golden_.mode() == v1::PrecisionSpec::FP16) {
      snapshot.step.loss_scale = said.at("loss_scale");
      snapshot.step.growth_tracker = said.at("growth_tracker");
    }
    const absl::Status restored = state_.Restore(snapshot);
    ASSERT_TRUE(restored.ok()) << restored;
  }

  void Iterate() {
    NeverStop control;
    ASSERT_TRUE(program_.Run(state_.step_state().iteration, control));
  }

  bool skipped() const { return step().found_inf != 0; }

  // Unscaled and not clipped, on the CPU.
  at::Tensor Gradient(std::size_t i) {
    ParameterBuffer& buffer = state_.model().parameters();
    return buffer.ViewOf(buffer.gradients(), i).detach().cpu() / step().used_loss_scale;
  }
  at::Tensor Values() {
    std::vector<at::Tensor> parts;
    for (const Parameter& parameter : parameters()) parts.push_back(parameter.value.detach().flatten().cpu());
    return at::cat(parts);
  }

 private:
  class NeverStop final : public Control {
   public:
    bool stop_requested() override { return false; }
  };

  static std::unique_ptr<Dataset> DataOn(at::Device device, const Golden& golden) {
    std::unique_ptr<Dataset> data = golden.Data();
    data->MoveTo(device);
    return data;
  }

  // The tensors from `first` on, as many as there are parameters, in their order.
  void Fill(std::vector<NamedTensor>& tensors, std::size_t first, const at::Tensor& flat) {
    std::int64_t at = 0;
    for (std::size_t i = 0; i < parameters().size(); ++i) {
      const at::Tensor& tensor = tensors[first + i].tensor;
      tensor.copy_(flat.narrow(0, at, tensor.numel()).view(tensor.sizes()));
      at += tensor.numel();
    }
    ASSERT_EQ(at, flat.numel());
  }

  const Golden& golden_;
  const std::unique_ptr<Dataset> data_;
  RunState state_;
  StepProgram program_;
};

}  // namespace mantissa::trainer
