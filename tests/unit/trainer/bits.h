// Bitwise comparison, part by part, so that a difference has a name.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>

#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

inline std::string BytesIn(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.detach().contiguous();
  return {static_cast<const char*>(whole.const_data_ptr()), whole.nbytes()};
}

// Every bit of a state, by name: tensors, counters and scaler, lineage.
inline std::map<std::string, std::string> BitsOf(const RunState& state) {
  std::map<std::string, std::string> bits;
  const RunSnapshot view = state.View();
  for (const NamedTensor& tensor : view.model) bits[tensor.name] = BytesIn(tensor.tensor);
  for (const NamedTensor& tensor : view.optimizer) bits[tensor.name] = BytesIn(tensor.tensor);
  const StepState& step = view.step;
  bits["counters"] = absl::StrCat(step.iteration, " ", step.step);
  bits["scaler"] = absl::StrCat(absl::Hex(std::bit_cast<std::uint32_t>(step.loss_scale)), " ", step.growth_tracker, " ",
                                step.hysteresis_tracker, " ", step.skips_in_row, " ", step.halt);
  bits["lineage"] = absl::StrCat(view.lineage);
  return bits;
}

// Names of what is not bitwise equal in the two.
inline std::vector<std::string> Differences(const std::map<std::string, std::string>& a,
                                            const std::map<std::string, std::string>& b) {
  std::vector<std::string> names;
  for (const auto& [name, bits] : a) {
    const auto other = b.find(name);
    if (other == b.end() || other->second != bits) names.push_back(name);
  }
  for (const auto& [name, bits] : b) {
    if (!a.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace mantissa::trainer
