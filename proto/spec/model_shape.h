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
#include <string_view>
#include <vector>

#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

// Text is read byte by byte.
inline constexpr std::int32_t kTextVocabulary = 256;
inline constexpr std::int32_t kGpt2Vocabulary = 50257;
// Tokens in a sequence where the spec does not say.
inline constexpr std::int32_t kDefaultContext = 128;

// A language model: gpt, or layers that begin with an embedding. The others are classifiers.
bool ReadsTokens(const v1::Model& model);

// Tokens in one of its sequences; 0 for a classifier. `model` has its defaults resolved.
std::int64_t ContextOf(const v1::Model& model);

// Of a source of tokens with its defaults resolved; 0 for one that cannot be one.
std::int32_t VocabularyOf(const v1::DataSource& source);

enum class ParameterKind {
  kWeight,
  kBias,
  kNorm,  // scale and shift of a norm
  kEmbedding,
};

// The layer that a parameter belongs to.
enum class ModuleType {
  kLinear,
  kConv1d,
  kConv2d,
  kBatchNorm1d,
  kBatchNorm2d,
  kBatchNorm3d,
  kLayerNorm,
  kRmsNorm,
  kEmbedding,
};

// `Weight`, `Bias`, `Norm`, `Embedding`: types that a `match` can name.
std::string_view ParameterKindName(ParameterKind kind);
// `Linear`, as PyTorch calls it.
std::string_view ModuleTypeName(ModuleType type);

struct Parameter {
  std::string path;                 // `blocks.0.attention.qkv.weight`
  std::vector<std::int64_t> shape;  // a linear weight is (out, in)
  ParameterKind kind = ParameterKind::kWeight;
  ModuleType module = ModuleType::kLinear;

  std::int64_t elements() const;
};

// Weight decay is for weights and embeddings, never for norms and biases.
bool IsDecayed(ParameterKind kind);

// Whether products read it, in the compute format: every weight, and a token table that is the head too.
bool IsProductOperand(const Parameter& parameter);
// Whether MASTER_FP32 stores it in the compute format: what matrix products read. Convolutions cast at use.
bool IsStoredLow(const Parameter& parameter);

// One sample of the data as the model sees it.
struct SampleShape {
  // Classifiers: (F), (T, F) for a sequence or an image of one channel, (C, H, W), (C, D, H, W). Empty for tokens.
  std::vector<std::int64_t> features;
  // Classes of a classifier, or the data's vocabulary.
  std::int64_t classes = 0;
};

// From the resolved spec where it says it all (synthetic, text, tokens); nothing where the files must be read (idx).
std::optional<SampleShape> SampleShapeOf(const v1::TrainingSpec& training);

// In the order of the modules: forward order, which is also the order in a checkpoint. `model` has its defaults
// resolved and is valid. Layers are listed one by one: at most 256 x 12 entries.
std::vector<Parameter> ModelParameters(const v1::Model& model, const SampleShape& sample);

// State that is not trained: running statistics of batch norm. The same order.
std::vector<Parameter> ModelBuffers(const v1::Model& model, const SampleShape& sample);

std::int64_t ParameterCount(const std::vector<Parameter>& parameters);

// Memory of one training process on its device, in bytes, without what the libraries take for themselves.
struct ModelBytes {
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_state = 0;
  // Running statistics, twice: as they are, and as an iteration under way would leave them.
  std::int64_t buffers = 0;
  // Weights in the compute type: cast at use and kept from forward to backward, or stored (MASTER_FP32), which takes as
  // much. 0 in FP32.
  std::int64_t casts = 0;
  // Of one micro-batch at its worst moment: what forward left for backward, and gradients on their way; op by op.
  std::int64_t activations = 0;

  std::int64_t Total() const;
};

// Tensors of the parameters' size that the optimizer keeps. `optimizer` has its defaults resolved.
std::int64_t MomentsOf(const v1::OptimizerSpec& optimizer);

// `training` has its defaults resolved and is valid. With micro_batch AUTO: of a micro-batch of one sample.
ModelBytes EstimateModelBytes(const v1::TrainingSpec& training, const SampleShape& sample);

}  // namespace mantissa::spec
