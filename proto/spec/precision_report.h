// What of a training runs and is kept in which number format, module by module, and what that costs in memory: from the
// spec alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/precision_table.h"

namespace mantissa::spec {

// A module with parameters, or several that are alike and in the same formats.
struct ModulePrecision {
  std::string path;  // `blocks.*.attention.qkv`: layers are alike
  ModuleType type = ModuleType::kLinear;
  std::int64_t modules = 1;
  // Of all of them; at least that much where the data's files decide the sizes.
  std::int64_t parameters = 0;
  bool sizes_known = true;

  // Parameters, gradients and optimizer state are FP32 whatever the mode.
  std::int64_t parameter_bytes = 0;
  std::int64_t gradient_bytes = 0;
  std::int64_t optimizer_bytes = 0;
  // What the module's op reads its weights in, and what that takes where it is not the parameters themselves.
  NumberFormat weight_format = NumberFormat::kFloat32;
  std::int64_t weight_bytes = 0;
  // They are stored so beside FP32 masters; else cast at use.
  bool weight_stored = false;
  // What its result is kept in.
  NumberFormat activation_format = NumberFormat::kFloat32;
};

struct PrecisionReport {
  // In forward order. Empty for layers that the data's files decide.
  std::vector<ModulePrecision> modules;
  // False where the data's files decide the sizes of some modules: the bytes then say nothing of those, nor of
  // activations.
  bool sizes_known = true;
  ModelBytes bytes;
  // The same training in mode FP32.
  ModelBytes fp32_bytes;
};

// `training` has its defaults resolved and is valid.
PrecisionReport DescribePrecision(const v1::TrainingSpec& training);

}  // namespace mantissa::spec
