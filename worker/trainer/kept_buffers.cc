#include "worker/trainer/kept_buffers.h"

#include <ATen/ATen.h>

namespace mantissa::trainer {

KeptBuffers::KeptBuffers(Model& model) : model_(model) {
  for (const NamedTensor& buffer : model.buffers()) values_.push_back(buffer.tensor.detach().clone());
}

KeptBuffers::~KeptBuffers() {
  for (std::size_t i = 0; i < values_.size(); ++i) model_.buffers()[i].tensor.detach().copy_(values_[i]);
}

}  // namespace mantissa::trainer
