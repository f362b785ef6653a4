#pragma once

#include <cstdint>
#include <vector>

#include "worker/models/model.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Linear layers with an activation (and dropout) after each but the head. Not thread-safe.
class Mlp : public Model {
 public:
  Mlp(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device);

  at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) override;

 private:
  std::vector<LinearParameters> layers_;  // the head is the last
  Activation activation_;
  double dropout_;
};

}  // namespace mantissa::trainer
