// The products of matrices that a model makes of a micro-batch, and what of the spec decides their sizes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mantissa/v1/study.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::cli {

// Of a linear layer's forward pass: (m, k) times (k, n), with m the rows of a micro-batch.
struct ModelProduct {
  std::string path;  // of its weight: `blocks.0.attention.qkv.weight`
  v1::MatrixShape shape;
};

// Samples that go through the model at once: the window over `accumulation`, rounded up.
std::int64_t MicroBatchOf(const v1::TrainingSpec& training);

// At most 12, the largest first, each shape once. Empty where the shapes are in data files (idx), where the model has
// no linear layers, or where none has sides that a study takes. `training` is valid and has its defaults. Pure.
std::vector<ModelProduct> ProductsOf(const v1::TrainingSpec& training);

// The field of the spec that is this width: `training.model.mlp.hidden[1]`; empty where none is, as of classes. Pure.
std::string FieldOfWidth(const v1::TrainingSpec& training, std::int32_t width);

}  // namespace mantissa::cli
