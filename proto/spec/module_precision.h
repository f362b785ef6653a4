// What each module of a model computes in and stores its weights in: the precision's mode and storage, and the
// overrides that match it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/violation.h"

namespace mantissa::spec {

// A module whose products the precision decides.
struct ComputingModule {
  std::string path;       // `blocks.0.attention.qkv`
  std::string_view type;  // `Linear`, `Conv1d`, `Conv2d`, or `Attention`: scores, softmax and weighted sum
};

// In forward order.
std::vector<ComputingModule> ComputingModules(const std::vector<Parameter>& parameters);

// The module whose product reads this weight; `parameter` is a product operand.
ComputingModule ComputingModuleOf(const Parameter& parameter);

struct ModuleFormat {
  v1::PrecisionSpec::Mode compute = v1::PrecisionSpec::FP32;
  // Its weights are stored in the compute format beside FP32 masters; else they are cast at use.
  bool stored_low = false;

  bool operator==(const ModuleFormat&) const = default;
};

// One per module, in whatever mode is in effect in `precision`, which is well-formed. Weights are stored in one format:
// the mode's, or, where that is none of the low ones, the first that a module asks for. A module that computes in
// another low format casts at use, which gives the same bits.
std::vector<ModuleFormat> FormatsOf(const v1::PrecisionSpec& precision, const std::vector<ComputingModule>& modules);

// Overrides that cover no module that computes, or change nothing because later ones override them, and storage that
// the modules' formats rule out. For the trainer, once it has read the shape of the data; ValidateJobSpec finds them
// wherever the spec alone says which modules there are.
std::vector<Violation> FindIdleOverrides(const v1::PrecisionSpec& precision, const std::vector<Parameter>& parameters);

}  // namespace mantissa::spec
