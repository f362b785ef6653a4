// The engine against PyTorch: iterations from recorded states, and where 200 of them lead. The goldens, and how far
// apart PyTorch's own runs are, come from tests/golden/engine/make_goldens.py.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "proto/spec/defaults.h"
#include "tests/unit/trainer/fake_control.h"
#include "worker/amp/loss_scaler.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/models/model.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;
using nlohmann::json;

// Of engine.md: a golden's loss is met to this, relatively.
double LossTolerance(Mode::Mode mode) {
  switch (mode) {
    case Mode::BF16:
      return 2e-3;
    case Mode::FP16:
      return 5e-4;
    default:
      return 1e-6;
  }
}

// From 1 to the next number of the compute type.
double Epsilon(Mode::Mode mode) {
  switch (mode) {
    case Mode::BF16:
      return 0x1p-7;
    case Mode::FP16:
      return 0x1p-10;
    default:
      return 0x1p-23;
  }
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
  void MoveTo(at::Device) override {}

 private:
  const at::Tensor input_;
  const at::Tensor target_;
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
  Mode::Mode mode() const { return training_.precision().mode(); }
  json Said(const std::string& what) const { return json::parse(file_.metadata.at(what)); }

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
  explicit Subject(const Golden& golden)
      : golden_(golden),
        data_(golden.Data()),
        state_(BuildModel(golden.training().model(), data_->shape().sample, 1, at::kCPU),
               {golden.training().optimizer(), golden.training().schedule(), golden.training().iterations(),
                ScalerSettingsFrom(golden.training().precision(), golden.training().max_grad_norm())},
               at::kCPU),
        program_(state_, {*data_, BatchPlan({.samples = data_->size(), .batch_size = golden.training().batch_size()}),
                          PrecisionPolicy(golden.mode()), 0}) {}

  const std::vector<Parameter>& parameters() { return state_.model().parameters().parameters(); }
  StepState step() const { return state_.step_state(); }

  // Parameters and moments as recorded before this iteration.
  void GoTo(int iteration) {
    const json said = golden_.Said("iterations").at(std::to_string(iteration));
    RunSnapshot snapshot = state_.Snapshot();
    Fill(snapshot.model, 0, golden_.Part(iteration, "parameters"));
    const std::size_t count = snapshot.model.size();
    Fill(snapshot.optimizer, 0, golden_.Part(iteration, "exp_avg"));
    Fill(snapshot.optimizer, count, golden_.Part(iteration, "exp_avg_sq"));
    snapshot.step.iteration = iteration;
    snapshot.step.step = said.at("step");
    if (golden_.mode() == Mode::FP16) {
      snapshot.step.loss_scale = said.at("loss_scale");
      snapshot.step.growth_tracker = said.at("growth_tracker");
    }
    const absl::Status restored = state_.Restore(snapshot);
    ASSERT_TRUE(restored.ok()) << restored;
  }

  void Iterate() {
    FakeControl control;
    ASSERT_TRUE(program_.Run(state_.step_state().iteration, control));
  }

  bool skipped() const { return step().found_inf != 0; }

  // Unscaled and not clipped.
  at::Tensor Gradient(std::size_t i) {
    ParameterBuffer& buffer = state_.model().parameters();
    return buffer.ViewOf(buffer.gradients(), i).detach() / step().used_loss_scale;
  }
  at::Tensor Values() {
    std::vector<at::Tensor> parts;
    for (const Parameter& parameter : parameters()) parts.push_back(parameter.value.detach().flatten());
    return at::cat(parts);
  }

 private:
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

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    ASSERT_EQ(golden_.Said("parameters").size(), subject_.parameters().size());
    for (std::size_t i = 0; i < subject_.parameters().size(); ++i) {
      ASSERT_EQ(golden_.Said("parameters")[i], subject_.parameters()[i].shape.path);
    }
  }

  // False for elements whose true gradient is zero, which rounding moves at random by whole learning rates.
  at::Tensor Meaningful() {
    const json zeros = golden_.Said("structural_zeros");
    std::vector<at::Tensor> parts;
    for (const Parameter& parameter : subject_.parameters()) {
      at::Tensor part = at::ones({parameter.value.numel()}, at::kBool);
      if (const auto range = zeros.find(parameter.shape.path); range != zeros.end()) {
        part.slice(0, range->at(0).get<std::int64_t>(), range->at(1).get<std::int64_t>()).fill_(false);
      }
      parts.push_back(part);
    }
    return at::cat(parts);
  }

  const Golden golden_{GetParam()};
  Subject subject_{golden_};
};

TEST_P(GoldenTest, EachRecordedIterationHasPyTorchsLossGradientsAndSkip) {
  const json iterations = golden_.Said("iterations");
  ASSERT_EQ(iterations.size(), 20u);
  for (const auto& [name, said] : iterations.items()) {
    SCOPED_TRACE("iteration " + name);
    subject_.GoTo(std::stoi(name));
    subject_.Iterate();
    const double loss = said.at("loss");
    EXPECT_NEAR(subject_.step().loss, loss, LossTolerance(golden_.mode()) * std::abs(loss));
    ASSERT_EQ(subject_.skipped(), said.at("skipped").get<bool>());
    if (subject_.skipped()) continue;
    const at::Tensor gradients = golden_.Part(std::stoi(name), "gradients");
    // What backward loses on its way to a parameter is relative to the largest gradient that it passes; and a golden is
    // no truer than its own distance from the gradients in FP64.
    const double own = said.at("gradient_error");
    const double largest = gradients.abs().max().item<double>();
    std::int64_t at = 0;
    for (std::size_t i = 0; i < subject_.parameters().size(); ++i) {
      const Parameter& parameter = subject_.parameters()[i];
      const at::Tensor theirs = gradients.narrow(0, at, parameter.value.numel()).view(parameter.value.sizes());
      at += parameter.value.numel();
      const double fan_in = static_cast<double>(parameter.value.size(-1));
      const double allowed = std::max(own, 4 * Epsilon(golden_.mode()) * std::sqrt(fan_in) * largest);
      EXPECT_LE((subject_.Gradient(i) - theirs).abs().max().item<double>(), allowed) << parameter.shape.path;
    }
  }
}

TEST_P(GoldenTest, TwoHundredIterationsEndAsCloseAsPyTorchsOwnRunsDo) {
  const json losses = golden_.Said("losses");
  subject_.GoTo(0);
  std::vector<int> skipped;
  double spread = 0;
  for (int i = 0; i < static_cast<int>(losses.size()); ++i) {
    subject_.Iterate();
    spread = std::max(spread, std::abs(subject_.step().loss - losses[i].get<double>()));
    if (subject_.skipped()) skipped.push_back(i);
  }
  EXPECT_EQ(json(skipped), golden_.Said("skipped"));
  EXPECT_GE(skipped.size(), golden_.mode() == Mode::FP16 ? 3u : 0u);

  const at::Tensor meaningful = Meaningful();
  const at::Tensor theirs = golden_.Tensor("end.parameters");
  const at::Tensor apart = (subject_.Values() - theirs).to(at::kDouble);
  const double distance =
      (apart.masked_select(meaningful).norm() / theirs.to(at::kDouble).masked_select(meaningful).norm()).item<double>();
  const double floor = golden_.mode() == Mode::FP32 ? 2e-4 : 0;
  EXPECT_LE(distance, std::max(3 * golden_.Said("distance").get<double>(), floor));
  EXPECT_LE(spread, std::max(3 * golden_.Said("loss_distance").get<double>(), floor));
  const double learning_rate = golden_.training().optimizer().adamw().learning_rate();
  const double wandered = apart.masked_fill(meaningful, 0).abs().max().item<double>();
  EXPECT_LE(wandered, 2 * learning_rate * static_cast<double>(losses.size()));
  RecordProperty("distance", std::to_string(distance));
  RecordProperty("loss_distance", std::to_string(spread));
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/engine")) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, testing::ValuesIn(Names()),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace mantissa::trainer
