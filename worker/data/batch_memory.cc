#include "worker/data/batch_memory.h"

#include <ATen/ATen.h>

namespace mantissa::trainer {

bool Fits(const at::Tensor& kept, const at::Tensor& source, std::int64_t count) {
  return kept.defined() && kept.device() == source.device() && kept.dim() == source.dim() && kept.size(0) == count &&
         kept.sizes().slice(1) == source.sizes().slice(1);
}

void Deliver(const Batch& host, at::Device device, Batch& batch) {
  batch = {host.input.to(device), host.target.to(device), host.targets};
}

at::Tensor IndicesOn(at::Device device, std::span<const std::int64_t> indices) {
  at::Tensor rows = at::empty({static_cast<std::int64_t>(indices.size())}, at::kLong);
  std::copy(indices.begin(), indices.end(), rows.mutable_data_ptr<std::int64_t>());
  return rows.to(device);
}

}  // namespace mantissa::trainer
