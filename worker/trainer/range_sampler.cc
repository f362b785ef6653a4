#include "worker/trainer/range_sampler.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <ATen/ATen.h>

#include "proto/spec/module_match.h"

namespace mantissa::trainer {
namespace {

// Measures the output of every module and its gradient.
class RangeProbe final : public ActivationProbe {
 public:
  // Each module's values are measured against the format that it computes in.
  explicit RangeProbe(const PrecisionPolicy& policy) : policy_(policy) {}

  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    const std::size_t place = modules_.size();
    const spec::NumberFacts format = FormatOf(module);
    modules_.push_back({module, meter_.Add(output.detach().to(at::kFloat), format), {}, {}});
    // Behind a scale or an activation alone there is no parameter yet.
    at::Tensor passed = output.requires_grad() ? output : output.detach().requires_grad_(true);
    passed.register_hook([this, place, format](const at::Tensor& gradient) {
      modules_[place].gradient = meter_.Add(gradient.detach().to(at::kFloat), format);
    });
    return passed;
  }

  void AddParameter(const std::string& path, const at::Tensor& gradient) {
    const std::string module = spec::ModuleOf(path);
    for (Measured& measured : modules_) {
      if (measured.module != module) continue;
      measured.parameters.push_back(meter_.Add(gradient, FormatOf(module)));
      return;
    }
  }

  // Waits for the device, for the first time.
  std::vector<ModuleRange> Read() const {
    const std::vector<ValueRange> ranges = meter_.Read();
    std::vector<ModuleRange> modules;
    for (const Measured& measured : modules_) {
      ModuleRange& module = modules.emplace_back();
      module.module = measured.module;
      module.activation = ranges[measured.activation];
      if (measured.gradient.has_value()) module.gradient = ranges[*measured.gradient];
      for (const std::size_t parameter : measured.parameters) {
        module.gradient.flushed_ratio = std::max(module.gradient.flushed_ratio, ranges[parameter].flushed_ratio);
      }
    }
    return modules;
  }

 private:
  // Places of the meter.
  struct Measured {
    std::string module;
    std::size_t activation = 0;
    std::optional<std::size_t> gradient;
    std::vector<std::size_t> parameters;
  };

  spec::NumberFacts FormatOf(const std::string& module) const {
    return spec::FactsOf(spec::ComputeFormat(policy_.Of(module).mode()));
  }

  const PrecisionPolicy policy_;
  RangeMeter meter_;
  std::vector<Measured> modules_;
};

// The gradients as they were, when it goes; zeros as long as it lives.
class BorrowedGradients {
 public:
  explicit BorrowedGradients(ParameterBuffer& parameters)
      : parameters_(parameters), kept_(parameters.gradients().clone()) {
    parameters_.ZeroGradients();
  }
  ~BorrowedGradients() { at::Tensor(parameters_.gradients()).copy_(kept_); }
  BorrowedGradients(const BorrowedGradients&) = delete;
  BorrowedGradients& operator=(const BorrowedGradients&) = delete;

 private:
  ParameterBuffer& parameters_;
  const at::Tensor kept_;
};

double Nearness(const ModuleRange& range) {
  return std::max({range.activation.near_max_ratio, range.activation.flushed_ratio, range.gradient.near_max_ratio,
                   range.gradient.flushed_ratio});
}

// In their order; the first ones where several are equally near.
void KeepNearest(std::size_t count, std::vector<ModuleRange>& modules) {
  if (modules.size() <= count) return;
  std::vector<double> nearness;
  for (const ModuleRange& range : modules) nearness.push_back(Nearness(range));
  std::vector<double> sorted = nearness;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(count), sorted.end(), std::greater<>());
  const double limit = sorted[count];
  auto above = static_cast<std::size_t>(
      std::count_if(nearness.begin(), nearness.end(), [&](double value) { return value > limit; }));
  std::size_t equal = count - above;
  std::vector<ModuleRange> kept;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (nearness[i] < limit || (nearness[i] == limit && equal == 0)) continue;
    if (nearness[i] == limit) --equal;
    kept.push_back(std::move(modules[i]));
  }
  modules = std::move(kept);
}

}  // namespace

RangeSampler::RangeSampler(RunState& state, const StepProgram& program, std::int64_t every, const process::Clock& clock)
    : state_(state),
      program_(program),
      every_(every),
      clock_(clock),
      began_(clock.Now()),
      sampled_(every > 0 ? state.step_state().iteration / every : 0) {}

std::optional<ModuleRanges> RangeSampler::SampleIfDue(std::int64_t iteration) {
  if (every_ == 0 || iteration / every_ == sampled_) return std::nullopt;
  sampled_ = iteration / every_;
  const process::SteadyTime now = clock_.Now();
  if (std::chrono::duration<double>(spent_) > kShare * std::chrono::duration<double>(now - began_)) return std::nullopt;
  ModuleRanges ranges = Sample(program_.options().plan.WindowAfter(iteration - 1));
  spent_ += clock_.Now() - now;
  return ranges;
}

ModuleRanges RangeSampler::Sample(std::int64_t window) {
  const StepProgramOptions& options = program_.options();
  options.plan.MicroBatch(window, 0, indices_);
  const std::int64_t tokens = std::max<std::int64_t>(1, options.data.shape().context);
  const auto most = static_cast<std::size_t>(std::clamp<std::int64_t>(kTokens / tokens, 1, kSamples));
  if (indices_.size() > most) indices_.resize(most);
  options.data.Gather(indices_, batch_);

  ParameterBuffer& parameters = state_.model().parameters();
  const BorrowedGradients borrowed(parameters);
  RangeProbe probe(options.policy);
  const PrecisionPolicy exact(v1::PrecisionSpec::FP32);
  const RandomKey key = {options.seed, static_cast<std::int32_t>(window), 0};
  const at::Tensor logits = state_.model().Forward(batch_.input, {exact, key, /*training=*/true, &probe});
  exact.CrossEntropy(logits, batch_.target).backward(program_.BackwardSeed(window));
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    probe.AddParameter(parameters.parameters()[i].shape.path, parameters.ViewOf(parameters.gradients(), i).detach());
  }

  ModuleRanges ranges;
  ranges.samples = static_cast<std::int64_t>(indices_.size());
  ranges.loss_scale = state_.step_state().loss_scale;
  ranges.modules = probe.Read();
  ranges.module_count = static_cast<std::int64_t>(ranges.modules.size());
  KeepNearest(kModules, ranges.modules);
  return ranges;
}

}  // namespace mantissa::trainer
