#include "proto/spec/precision_report.h"

#include <map>
#include <optional>
#include <utility>

#include "proto/spec/layer_plan.h"
#include "proto/spec/module_match.h"
#include "proto/spec/module_precision.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kFullBytes = 4;

OpClass OpOf(ModuleType type) {
  switch (type) {
    case ModuleType::kLinear:
      return OpClass::kMatmul;
    case ModuleType::kConv1d:
    case ModuleType::kConv2d:
      return OpClass::kConvolution;
    case ModuleType::kBatchNorm1d:
    case ModuleType::kBatchNorm2d:
    case ModuleType::kBatchNorm3d:
    case ModuleType::kLayerNorm:
    case ModuleType::kRmsNorm:
      return OpClass::kNorm;
    case ModuleType::kEmbedding:
      return OpClass::kEmbedding;
  }
  return OpClass::kMatmul;
}

// Files may hold samples of any size. Two that differ in everything tell which modules depend on it.
SampleShape UnknownSample(const v1::TrainingSpec& training, std::int64_t size) {
  SampleShape sample;
  // Never as wide as the model, so that a layer that fits the two together is there.
  const std::int64_t width = training.model().transformer_encoder().d_model();
  sample.features = {size, width + size};
  sample.classes = training.data().train().idx().has_classes() ? training.data().train().idx().classes() : 1 + size;
  return sample;
}

class Rows {
 public:
  Rows(const v1::TrainingSpec& training, const std::vector<Parameter>& parameters)
      : mode_(training.precision().mode()), moments_(MomentsOf(training.optimizer())) {
    std::vector<ComputingModule> modules;
    for (const Parameter& parameter : parameters) modules.push_back(ComputingModuleOf(parameter));
    const std::vector<ModuleFormat> formats = FormatsOf(training.precision(), modules);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (IsProductOperand(parameters[i])) formats_[ModuleOf(parameters[i].path)] = formats[i];
    }
  }

  // `size_known`: not decided by the data's files.
  void Add(const Parameter& parameter, bool size_known) {
    const std::string module = ModuleOf(parameter.path);
    const auto found = formats_.find(module);
    const ModuleFormat format = found == formats_.end() ? ModuleFormat{mode_, false} : found->second;
    ModulePrecision& row = RowOf(module, parameter.module, format);
    if (module != last_module_) row.modules += 1;
    last_module_ = module;
    if (IsProductOperand(parameter)) {
      row.weight_format = ComputeFormat(format.compute);
      row.weight_stored = format.stored_low && IsStoredLow(parameter);
    }
    if (!size_known) {
      row.sizes_known = false;
      return;
    }
    const std::int64_t bytes = SaturatingMultiply(parameter.elements(), kFullBytes);
    row.parameters = SaturatingAdd(row.parameters, parameter.elements());
    row.parameter_bytes = SaturatingAdd(row.parameter_bytes, bytes);
    row.gradient_bytes = row.parameter_bytes;
    row.optimizer_bytes = SaturatingMultiply(row.parameter_bytes, moments_);
    if (IsProductOperand(parameter) && IsLow(row.weight_format)) {
      const std::int64_t cast = SaturatingMultiply(parameter.elements(), FactsOf(row.weight_format).bytes);
      row.weight_bytes = SaturatingAdd(row.weight_bytes, cast);
    }
  }

  std::vector<ModulePrecision> Take() { return std::move(rows_); }

 private:
  // A module that is alike to others but for its format has a row, and its own name, to itself.
  ModulePrecision& RowOf(const std::string& module, ModuleType type, const ModuleFormat& format) {
    const bool overridden = format.compute != mode_;
    const std::string path = overridden ? module : WithoutIndices(module);
    const auto [found, added] = index_.emplace(path, rows_.size());
    if (added) {
      ModulePrecision row;
      row.path = path;
      row.type = type;
      row.modules = 0;
      row.activation_format = PrecisionOf(OpOf(type), format.compute).output;
      rows_.push_back(row);
    }
    return rows_[found->second];
  }

  const v1::PrecisionSpec::Mode mode_;
  const std::int64_t moments_;
  std::vector<ModulePrecision> rows_;
  std::map<std::string, ModuleFormat> formats_;  // of modules whose weights products read
  std::map<std::string, std::size_t> index_;
  std::string last_module_;
};

// What is known without the sizes of the data.
ModelBytes SumOf(const std::vector<ModulePrecision>& rows) {
  ModelBytes bytes;
  for (const ModulePrecision& row : rows) {
    bytes.parameters = SaturatingAdd(bytes.parameters, row.parameter_bytes);
    bytes.gradients = SaturatingAdd(bytes.gradients, row.gradient_bytes);
    bytes.optimizer_state = SaturatingAdd(bytes.optimizer_state, row.optimizer_bytes);
    bytes.casts = SaturatingAdd(bytes.casts, row.weight_bytes);
  }
  return bytes;
}

}  // namespace

PrecisionReport DescribePrecision(const v1::TrainingSpec& training) {
  const std::optional<SampleShape> sample = SampleShapeOf(training);
  // Layers are worked out from the sample; without one there is nothing to list.
  if (!sample && IsLayered(training.model()))
    return {.modules = {}, .sizes_known = false, .bytes = {}, .fp32_bytes = {}};
  const std::vector<Parameter> parameters =
      ModelParameters(training.model(), sample.value_or(UnknownSample(training, 1)));
  const std::vector<Parameter> others = ModelParameters(training.model(), sample.value_or(UnknownSample(training, 2)));
  Rows rows(training, parameters);
  for (std::size_t i = 0; i < parameters.size(); ++i) rows.Add(parameters[i], parameters[i].shape == others[i].shape);

  v1::TrainingSpec fp32 = training;
  fp32.mutable_precision()->set_mode(v1::PrecisionSpec::FP32);
  fp32.mutable_precision()->clear_overrides();
  PrecisionReport report;
  report.modules = rows.Take();
  report.sizes_known = sample.has_value();
  if (sample) {
    report.bytes = EstimateModelBytes(training, *sample);
    report.fp32_bytes = EstimateModelBytes(fp32, *sample);
  } else {
    report.bytes = SumOf(report.modules);
    report.fp32_bytes = report.bytes;
    report.fp32_bytes.casts = 0;
  }
  return report;
}

}  // namespace mantissa::spec
