// What the kinds of data share when they fill a batch.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "worker/data/dataset.h"

namespace mantissa::trainer {

// `kept` can be written over as a batch of `count` entries of `source`.
bool Fits(const at::Tensor& kept, const at::Tensor& source, std::int64_t count);

// Fills `batch` with copies on the device.
void Deliver(const Batch& host, at::Device device, Batch& batch);

// As an int64 tensor on the device.
at::Tensor IndicesOn(at::Device device, std::span<const std::int64_t> indices);

}  // namespace mantissa::trainer
