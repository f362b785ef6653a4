#include "worker/amp/advice/adviser.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mantissa::trainer {
namespace {

using Rule = std::optional<Advice> (*)(const AdviceFacts&);

constexpr std::array<Rule, Adviser::kRules> kRulesInOrder = {NumericsNotPrecision, LossSpike,       ValuesNearMaximum,
                                                             GradientsFlushToZero, GradientsVanish, ScaleBacksOff,
                                                             ScaleNeverGrows,      ConsiderBf16,    EveryStepIsClipped};
constexpr std::size_t kClipWindow = 200;

}  // namespace

std::vector<Advice> Adviser::Observe(const IterationRecord& record, const PrecisionMonitor& monitor) {
  newest_ = record;
  scale_has_grown_ = scale_has_grown_ || record.next_loss_scale > record.loss_scale;
  RememberClipping(record);
  median_loss_ = running_loss_.median();
  const bool jumped = median_loss_ && record.loss > SpikeLimits().times_median * *median_loss_;
  const bool asks = record.iteration % settings_.every == 0 || !record.applied || jumped;
  if (asks) loss_deviation_ = running_loss_.Deviation();
  std::vector<Advice> said;
  if (asks) said = Ask(Facts(monitor));
  if (record.applied) running_loss_.Remember(record.loss);
  return said;
}

std::vector<Advice> Adviser::Observe(const ModuleRanges& ranges, const PrecisionMonitor& monitor) {
  AdviceFacts facts = Facts(monitor);
  facts.ranges = ranges;
  return Ask(facts);
}

void Adviser::RememberClipping(const IterationRecord& record) {
  if (!record.applied || settings_.scaler.max_grad_norm <= 0) return;
  clipped_.push_back(record.grad_norm.value_or(0) > settings_.scaler.max_grad_norm);
  clipped_count_ += clipped_.back() ? 1 : 0;
  if (clipped_.size() <= kClipWindow) return;
  clipped_count_ -= clipped_.front() ? 1 : 0;
  clipped_.pop_front();
}

AdviceFacts Adviser::Facts(const PrecisionMonitor& monitor) const {
  AdviceFacts facts;
  facts.mode = settings_.mode;
  facts.has_bf16 = settings_.has_bf16;
  facts.scaler = settings_.scaler;
  facts.record = newest_;
  facts.stats = monitor.stats();
  facts.scale_has_grown = scale_has_grown_;
  if (clipped_.size() == kClipWindow) facts.clipped_ratio = clipped_count_ / static_cast<double>(kClipWindow);
  facts.median_loss = median_loss_;
  facts.loss_deviation = loss_deviation_;
  return facts;
}

std::vector<Advice> Adviser::Ask(const AdviceFacts& facts) {
  std::vector<Advice> said;
  for (std::size_t i = 0; i < kRulesInOrder.size(); ++i) {
    if (facts.record.iteration - spoke_[i] < settings_.quiet_iterations) continue;
    std::optional<Advice> advice = kRulesInOrder[i](facts);
    if (!advice) continue;
    spoke_[i] = facts.record.iteration;
    said.push_back(*std::move(advice));
  }
  return said;
}

}  // namespace mantissa::trainer
