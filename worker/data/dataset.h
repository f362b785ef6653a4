// The samples of one data source, and how a batch of them is put together.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "proto/spec/model_shape.h"

namespace mantissa::trainer {

struct DataShape {
  spec::SampleShape sample;
  // Tokens in a sequence; 0 for a classifier's data.
  std::int64_t context = 0;
};

struct Batch {
  at::Tensor input;          // (B, ...) FP32 features, or (B, T) int64 tokens
  at::Tensor target;         // (B) or (B x T) int64, every one of them valid
  std::int64_t targets = 0;  // elements of `target`
};

// Immutable but for Prepare; Gather may run in several threads with different batches.
class Dataset {
 public:
  virtual ~Dataset() = default;

  // In samples: rows, or sequences.
  virtual std::int64_t size() const = 0;
  virtual const DataShape& shape() const = 0;

  // Fills `batch` with these samples, in this order, on the device the data is on. The tensors are written in place
  // when they fit, so that a loop allocates nothing: what a backward pass still needs must not be gathered over.
  // `indices` are in [0, size()) and not empty.
  virtual void Gather(std::span<const std::int64_t> indices, Batch& batch) const = 0;

  // Holds the data on `device` from here on.
  virtual void MoveTo(at::Device device) = 0;
};

}  // namespace mantissa::trainer
