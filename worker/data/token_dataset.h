// Sequences of tokens, each followed by its successor: what a language model reads.
#pragma once

#include <cstdint>
#include <span>

#include "worker/data/dataset.h"

namespace mantissa::trainer {

class TokenDataset final : public Dataset {
 public:
  // `tokens` (N) uint8 or int32, on CPU, in [0, vocabulary). Sequence i is tokens[i x stride, + context + 1): its first
  // `context` tokens are the input, its last `context` the targets. At least one sequence fits.
  TokenDataset(at::Tensor tokens, std::int64_t vocabulary, std::int64_t context, std::int64_t stride);

  std::int64_t size() const override { return sequences_.size(0); }
  const DataShape& shape() const override { return shape_; }
  void Gather(std::span<const std::int64_t> indices, Batch& batch) const override;
  bool GatherPlaces(const WindowPlaces& places, Batch& batch) const override;
  void MoveTo(at::Device device) override;
  void DeliverTo(at::Device device) override { deliver_to_ = device; }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(tokens_.nbytes()); }

 private:
  void GatherOnHost(std::span<const std::int64_t> indices, Batch& batch) const;

  at::Tensor tokens_;
  at::Tensor sequences_;  // (sequences, context + 1), a view of tokens_
  std::int64_t stride_;
  at::Device deliver_to_ = at::kCPU;
  DataShape shape_;
};

}  // namespace mantissa::trainer
