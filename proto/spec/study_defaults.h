// The defaults of a study. For proto/spec alone.
#pragma once

#include "mantissa/v1/study.pb.h"

namespace mantissa::spec {

// Left absent, because they differ on a GPU, which only the trainer knows: precisions of precision_comparison,
// tensor_core and memory_plan, and shapes of products.
void ResolveStudy(v1::StudySpec& study);

}  // namespace mantissa::spec
