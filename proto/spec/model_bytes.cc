// What a model costs in memory: exact for parameters, gradients and optimizer state, counted op by op for activations.
#include "proto/spec/activation_bytes.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/module_precision.h"
#include "proto/spec/precision_table.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kFullBytes = 4;

// Weights in a low format, cast or stored.
std::int64_t CastBytes(const v1::PrecisionSpec& precision, const std::vector<Parameter>& parameters) {
  std::vector<const Parameter*> operands;
  std::vector<ComputingModule> modules;
  for (const Parameter& parameter : parameters) {
    if (!IsProductOperand(parameter)) continue;
    operands.push_back(&parameter);
    modules.push_back(ComputingModuleOf(parameter));
  }
  const std::vector<ModuleFormat> formats = FormatsOf(precision, modules);
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const NumberFormat format = ComputeFormat(formats[i].compute);
    if (!IsLow(format)) continue;
    bytes = SaturatingAdd(bytes, SaturatingMultiply(operands[i]->elements(), FactsOf(format).bytes));
  }
  return bytes;
}

}  // namespace

std::int64_t MomentsOf(const v1::OptimizerSpec& optimizer) {
  if (optimizer.has_sgd()) return optimizer.sgd().momentum() > 0 ? 1 : 0;
  return 2;
}

std::int64_t ModelBytes::Total() const {
  std::int64_t total = 0;
  for (const std::int64_t part : {parameters, gradients, optimizer_state, buffers, casts, activations}) {
    total = SaturatingAdd(total, part);
  }
  return total;
}

ModelBytes EstimateModelBytes(const v1::TrainingSpec& training, const SampleShape& sample) {
  const std::vector<Parameter> parameters = ModelParameters(training.model(), sample);
  const std::int64_t low = FactsOf(ComputeFormat(training.precision().mode())).bytes;
  // Without an accumulation it is the trainer's to choose, down to a single sample.
  const std::int64_t micro_batch =
      training.has_accumulation() ? (training.batch_size() - 1) / training.accumulation() + 1 : 1;
  ModelBytes bytes;
  bytes.parameters = SaturatingMultiply(ParameterCount(parameters), kFullBytes);
  bytes.gradients = bytes.parameters;
  bytes.optimizer_state = SaturatingMultiply(bytes.parameters, MomentsOf(training.optimizer()));
  bytes.buffers = SaturatingMultiply(ParameterCount(ModelBuffers(training.model(), sample)), 2 * kFullBytes);
  bytes.casts = CastBytes(training.precision(), parameters);
  bytes.activations = ActivationBytes(training.model(), sample, low, micro_batch);
  return bytes;
}

}  // namespace mantissa::spec
