// What the optimizer and the parameter groups of a spec say of each parameter.
#pragma once

#include <vector>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/violation.h"

namespace mantissa::spec {

using ParameterGroups = google::protobuf::RepeatedPtrField<v1::ParameterGroup>;

struct UpdateSettings {
  double learning_rate = 0;  // at its peak
  double weight_decay = 0;

  bool operator==(const UpdateSettings&) const = default;
};

// The optimizer's own, `weight_decay` as for a weight. `optimizer` has its defaults resolved.
UpdateSettings OptimizerUpdate(const v1::OptimizerSpec& optimizer);

// One per parameter. `optimizer` has its defaults resolved and `groups` are well-formed.
std::vector<UpdateSettings> ParameterUpdates(const v1::OptimizerSpec& optimizer, const ParameterGroups& groups,
                                             const std::vector<Parameter>& parameters);

// Groups that cover none of the parameters, or nothing that later groups leave to them. For the trainer, once it has
// read the shape of the data; ValidateJobSpec finds them wherever the spec alone says which parameters there are.
std::vector<Violation> FindIdleGroups(const ParameterGroups& groups, const std::vector<Parameter>& parameters);

}  // namespace mantissa::spec
