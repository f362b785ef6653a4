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

// Samples that the device finds by itself: `count` of them from place `begin` on in the order of a window.
struct WindowPlaces {
  const at::Tensor& order;   // SampleOrder, bytes
  const at::Tensor& window;  // its number, int64, one element
  std::int64_t begin = 0;
  std::int64_t count = 0;  // at least 1
};

// Immutable but for MoveTo and DeliverTo; Gather may run in several threads with different batches.
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

  // The same, in new tensors, of samples that the host need not know: everything is on the device that the data is on,
  // and nothing waits for it. False where this kind of data has no such way, or lies elsewhere than its batches.
  virtual bool GatherPlaces([[maybe_unused]] const WindowPlaces& places, [[maybe_unused]] Batch& batch) const {
    return false;
  }

  // Holds the data on `device` from here on.
  virtual void MoveTo(at::Device device) = 0;
  // Leaves the data where they are and makes batches on `device`: for data that would crowd it.
  virtual void DeliverTo([[maybe_unused]] at::Device device) {}
  // Of the data in memory.
  virtual std::int64_t bytes() const { return 0; }
};

}  // namespace mantissa::trainer
