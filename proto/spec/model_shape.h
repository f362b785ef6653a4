// The parameters of every model kind and what they cost in memory, from the spec alone. The names and shapes are the
// real modules': the trainer's models follow this file, checkpoints and telemetry use these names, and the server can
// say before a job runs whether it fits.
//
// Sizes are 64-bit and saturate: a sum or product that leaves the range stays at the largest value, so that a hostile
// spec reads as enormous and never as small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

// Text is read byte by byte.
inline constexpr std::int32_t kTextVocabulary = 256;

enum class ParameterKind {
  kWeight,
  kBias,
  kNorm,  // scale and shift of a norm
  kEmbedding,
};

struct Parameter {
  std::string path;                 // `blocks.0.attention.qkv.weight`
  std::vector<std::int64_t> shape;  // a linear weight is (out, in)
  ParameterKind kind = ParameterKind::kWeight;

  std::int64_t elements() const;
};

// Weight decay is for weights and embeddings, never for norms and biases.
bool IsDecayed(ParameterKind kind);

// One sample of the data as the model sees it.
struct SampleShape {
  // Classifiers: (F), or (T, F) for a sequence. Empty for tokens.
  std::vector<std::int64_t> features;
  // Classes of a classifier, or the data's vocabulary.
  std::int64_t classes = 0;
};

// From the resolved spec where it says it all (synthetic, text); nothing where the files must be read (idx).
std::optional<SampleShape> SampleShapeOf(const v1::TrainingSpec& training);

// In the order of the modules: forward order, which is also the order in a checkpoint. `model` has its defaults
// resolved and is valid. Layers are listed one by one: at most 256 x 12 entries.
std::vector<Parameter> ModelParameters(const v1::Model& model, const SampleShape& sample);

std::int64_t ParameterCount(const std::vector<Parameter>& parameters);

// Memory of one training process on its device, in bytes, without what the libraries take for themselves.
struct ModelBytes {
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_state = 0;
  // Weights cast to the compute type, kept from forward to backward. 0 in FP32.
  std::int64_t casts = 0;
  // What backward needs of forward, for one micro-batch: an estimate, within about a factor of two.
  std::int64_t activations = 0;

  std::int64_t Total() const;
};

// `training` has its defaults resolved and is valid. With micro_batch AUTO: of a micro-batch of one sample.
ModelBytes EstimateModelBytes(const v1::TrainingSpec& training, const SampleShape& sample);

}  // namespace mantissa::spec
