// A model's buffers, as they were.
#pragma once

#include <vector>

#include "worker/models/model.h"

namespace mantissa::trainer {

// Puts them back when it goes: a forward pass that is no part of the training leaves no trace in batch statistics.
class KeptBuffers {
 public:
  explicit KeptBuffers(Model& model);
  ~KeptBuffers();
  KeptBuffers(const KeptBuffers&) = delete;
  KeptBuffers& operator=(const KeptBuffers&) = delete;

 private:
  Model& model_;
  std::vector<at::Tensor> values_;
};

}  // namespace mantissa::trainer
