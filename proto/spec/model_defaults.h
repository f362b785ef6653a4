// The defaults of a model. For proto/spec alone.
#pragma once

#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

// `train` has its defaults resolved.
void ResolveModel(v1::Model& model, const v1::DataSource& train);

// Of one layer and those inside it. `tokens`: the model reads tokens.
void ResolveLayer(v1::Layer& layer, bool tokens);

}  // namespace mantissa::spec
