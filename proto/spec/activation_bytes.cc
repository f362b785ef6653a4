#include "proto/spec/activation_bytes.h"

#include <algorithm>
#include <vector>

#include "proto/spec/head_rows.h"
#include "proto/spec/layer_plan.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kFullBytes = 4;
constexpr std::int64_t kIndexBytes = 8;  // of a token, a label, the largest in a window of a pool

// One op of a forward pass.
struct Step {
  std::int64_t kept = 0;    // from forward to backward
  std::int64_t moving = 0;  // gradients that its backward pass reads and writes
};

// Forward adds up what is kept; backward gives it back from the last op on.
std::int64_t PeakOf(const std::vector<Step>& steps) {
  std::int64_t live = 0;
  for (const Step& step : steps) live = SaturatingAdd(live, step.kept);
  std::int64_t peak = live;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    peak = std::max(peak, SaturatingAdd(live, step->moving));
    live -= std::min(live, step->kept);
  }
  return peak;
}

std::int64_t Times(std::int64_t a, std::int64_t b) { return SaturatingMultiply(a, b); }

// The steps of a model, op after op. `low` is the bytes of the compute format; where that is FP32, a cast is none and
// an operand is kept by whoever made it, or by the op that reads it: once.
class Steps {
 public:
  explicit Steps(std::int64_t low) : low_(low) {}

  // A batch of `numbers` of `bytes` each, and its targets.
  void Input(std::int64_t numbers, std::int64_t bytes, std::int64_t targets) {
    Add(SaturatingAdd(Times(numbers, bytes), Times(targets, kIndexBytes)), 0);
    type_ = bytes;
    held_ = true;
  }

  // An op that reads its input in the compute format, keeps that, and gives a result in it.
  void Product(std::int64_t in, std::int64_t out) {
    Add(KeptAs(low_, in), Gradients(in, out, low_));
    Result(low_, false);
  }

  // Reads FP32, keeps that, and gives FP32: norms, and pools that are sums.
  void Full(std::int64_t in, std::int64_t out) {
    Add(KeptAs(kFullBytes, in), Gradients(in, out, kFullBytes));
    Result(kFullBytes, false);
  }

  // Keeps its result, in the type that it reads.
  void Relu(std::int64_t out) {
    Add(Times(out, type_), Times(2 * out, type_));
    Result(type_, true);
  }

  // Keeps its FP32 result; what it gives is in the type that it reads.
  void Tanh(std::int64_t out) {
    Add(Times(out, kFullBytes), Times(2 * out, kFullBytes));
    Result(type_, type_ == kFullBytes);
  }

  // Keeps its FP32 result, and gives it.
  void LogSoftmax(std::int64_t out) {
    Add(Times(out, kFullBytes), Times(2 * out, kFullBytes));
    Result(kFullBytes, true);
  }

  // Keeps its input in FP32; what it gives is in the type that it reads.
  void Gelu(std::int64_t in) {
    Add(KeptAs(kFullBytes, in), Times(2 * in, kFullBytes));
    Result(type_, false);
  }

  // Keeps its input and the places of the largest.
  void MaxPool(std::int64_t in, std::int64_t out) {
    Add(SaturatingAdd(KeptAs(type_, in), Times(out, kIndexBytes)), Gradients(in, out, type_));
    Result(type_, false);
  }

  // Keeps nothing: dropout draws its mask again.
  void Passing(std::int64_t in, std::int64_t out) {
    Add(0, Gradients(in, out, type_));
    Result(type_, false);
  }

  // Sums keep nothing, and give FP32.
  void Sum(std::int64_t in, std::int64_t out) {
    Add(0, Gradients(in, out, kFullBytes));
    Result(kFullBytes, false);
  }

  // A branch beside a stream of `numbers`, whose gradient waits while that of the branch is found. Returns what Leave
  // is to be given.
  std::int64_t Enter(std::int64_t numbers) {
    waiting_ = SaturatingAdd(waiting_, Times(numbers, type_));
    return type_;
  }
  // What the branch gives is added to the stream: FP32 where one of the two is.
  void Leave(std::int64_t numbers, std::int64_t type) {
    waiting_ -= std::min(waiting_, Times(numbers, type));
    Result(std::max(type, type_), false);
  }
  // The result in FP32 from here on.
  void Widen() { Result(kFullBytes, type_ == kFullBytes && held_); }

  // Scores, softmax and weighted sum, fused: queries, keys and values and the result are kept, and a number a row and
  // head. `width` numbers in each of `time` rows.
  void Attention(std::int64_t time, std::int64_t width, std::int64_t heads) {
    const std::int64_t row = SaturatingAdd(Times(4 * width, low_), Times(heads, kFullBytes));
    Add(Times(time, row), Times(Times(time, 4 * width), low_));
    Result(low_, true);
  }

  // A head whose logits are there for some rows at a time: of all samples together, for which the rest is taken as
  // often as there are of them. It keeps what it reads, and gives that a gradient; the logits' gradient takes their
  // place.
  std::int64_t FinishInPieces(std::int64_t in, std::int64_t rows, std::int64_t classes, std::int64_t samples) {
    Add(SaturatingAdd(KeptAs(low_, in), Times(rows, kFullBytes)), Gradients(in, 0, low_));
    const std::int64_t row_bytes = Times(classes, low_);
    const std::int64_t logits = Times(RowsAtOnce(Times(samples, rows), row_bytes), row_bytes);
    std::int64_t at_the_head = steps_.back().moving;
    for (const Step& step : steps_) at_the_head = SaturatingAdd(at_the_head, step.kept);
    return std::max(Times(samples, PeakOf(steps_)), SaturatingAdd(Times(samples, at_the_head), logits));
  }

  // The loss reads the logits, and gives their gradient in their format; the logits stay until all of backward is over.
  std::int64_t Finish(std::int64_t rows, std::int64_t classes) {
    const std::int64_t logits = Times(rows, Times(classes, type_));
    Add(Times(rows, kFullBytes), logits);  // the logarithm of each row's sum
    return SaturatingAdd(PeakOf(steps_), held_ ? 0 : logits);
  }

  void Add(std::int64_t kept, std::int64_t moving) { steps_.push_back({kept, SaturatingAdd(moving, waiting_)}); }
  std::int64_t low() const { return low_; }

 private:
  // What keeping the present tensor in this type takes.
  std::int64_t KeptAs(std::int64_t type, std::int64_t numbers) const {
    return type == type_ && held_ ? 0 : Times(numbers, type);
  }
  // Of what an op reads and gives; that of the batch nobody asks for.
  std::int64_t Gradients(std::int64_t in, std::int64_t out, std::int64_t type) const {
    return Times(SaturatingAdd(batch_ ? 0 : in, out), type);
  }
  void Result(std::int64_t type, bool held) {
    type_ = type;
    held_ = held;
    batch_ = false;
  }

  const std::int64_t low_;
  std::vector<Step> steps_;
  std::int64_t waiting_ = 0;        // gradients of streams beside the branches that are gone through
  std::int64_t type_ = kFullBytes;  // bytes of what the next op reads
  bool held_ = false;               // whether it is kept already
  bool batch_ = true;               // whether it is the batch
};

// A linear layer with its activation in one op: relu and tanh keep the result, gelu what went in.
void ActivatedLinear(std::int64_t in, std::int64_t out, v1::Activation::Function activation, Steps& steps) {
  steps.Product(in, out);
  if (activation != v1::Activation::GELU) {
    steps.Relu(out);
  } else {
    steps.Add(Times(out, steps.low()), Times(2 * out, steps.low()));
  }
}

std::int64_t MlpBytes(const v1::Mlp& mlp, const SampleShape& sample, std::int64_t low) {
  std::int64_t width = 1;
  for (const std::int64_t entry : sample.features) width = Times(width, entry);
  Steps steps(low);
  steps.Input(width, kFullBytes, 1);
  for (const std::int64_t out : mlp.hidden()) {
    ActivatedLinear(width, out, mlp.activation(), steps);
    if (mlp.dropout() > 0) steps.Passing(out, out);
    width = out;
  }
  steps.Product(width, sample.classes);
  return steps.Finish(1, sample.classes);
}

struct TransformerLayer {
  std::int64_t time = 0;
  std::int64_t width = 0;
  std::int64_t inner = 0;
  std::int64_t heads = 0;
  v1::Activation::Function activation = v1::Activation::RELU;
};

void AttentionBranch(const TransformerLayer& layer, Steps& steps) {
  const std::int64_t all = Times(layer.time, layer.width);
  const std::int64_t stream = steps.Enter(all);
  steps.Product(all, 3 * all);
  steps.Attention(layer.time, layer.width, layer.heads);
  steps.Product(all, all);
  steps.Leave(all, stream);
}

void FeedForwardBranch(const TransformerLayer& layer, Steps& steps) {
  const std::int64_t all = Times(layer.time, layer.width);
  const std::int64_t inner = Times(layer.time, layer.inner);
  const std::int64_t stream = steps.Enter(all);
  ActivatedLinear(all, inner, layer.activation, steps);
  steps.Product(inner, all);
  steps.Leave(all, stream);
}

std::int64_t TransformerEncoderBytes(const v1::TransformerEncoder& model, const SampleShape& sample, std::int64_t low) {
  const std::int64_t time = sample.features.size() > 1 ? sample.features.front() : 1;
  const std::int64_t features = sample.features.empty() ? model.d_model() : sample.features.back();
  const TransformerLayer layer = {time, model.d_model(), model.d_feed_forward(), model.heads(), model.activation()};
  const std::int64_t all = Times(time, layer.width);
  Steps steps(low);
  steps.Input(Times(time, features), kFullBytes, 1);
  if (features != layer.width) {
    steps.Product(Times(time, features), all);
    steps.Widen();
  }
  for (int i = 0; i < model.layers(); ++i) {
    AttentionBranch(layer, steps);
    steps.Full(all, all);
    FeedForwardBranch(layer, steps);
    steps.Full(all, all);
  }
  steps.Sum(all, layer.width);
  steps.Product(layer.width, sample.classes);
  return steps.Finish(1, sample.classes);
}

std::int64_t GptBytes(const v1::Gpt& model, std::int64_t low, std::int64_t samples) {
  const std::int64_t time = model.context();
  const TransformerLayer layer = {time, model.d_model(), 4 * std::int64_t{model.d_model()}, model.heads(),
                                  v1::Activation::GELU};
  const std::int64_t all = Times(time, layer.width);
  Steps steps(low);
  steps.Input(time, kIndexBytes, time);
  steps.Sum(all, all);  // of the two embeddings
  for (int i = 0; i < model.layers(); ++i) {
    steps.Full(all, all);
    AttentionBranch(layer, steps);
    steps.Full(all, all);
    FeedForwardBranch(layer, steps);
  }
  steps.Full(all, all);
  return steps.FinishInPieces(all, time, model.vocabulary(), samples);
}

void Layers(const std::vector<LayerPlan>& plans, Steps& steps);

void Layer(const LayerPlan& plan, Steps& steps) {
  const std::int64_t in = Elements(plan.input);
  const std::int64_t out = Elements(plan.output);
  switch (plan.layer.kind_case()) {
    case v1::Layer::kLinear:
    case v1::Layer::kConv1D:
    case v1::Layer::kConv2D:
      return steps.Product(in, out);
    case v1::Layer::kBatchNorm1D:
    case v1::Layer::kBatchNorm2D:
    case v1::Layer::kBatchNorm3D:
    case v1::Layer::kLayerNorm:
    case v1::Layer::kRmsNorm:
    case v1::Layer::kAveragePool1D:
    case v1::Layer::kAveragePool2D:
      return steps.Full(in, out);
    case v1::Layer::kRelu:
      return steps.Relu(out);
    case v1::Layer::kGelu:
      return steps.Gelu(in);
    case v1::Layer::kTanh:
      return steps.Tanh(out);
    case v1::Layer::kLogSoftmax:
      return steps.LogSoftmax(out);
    case v1::Layer::kMaxPool1D:
    case v1::Layer::kMaxPool2D:
      return steps.MaxPool(in, out);
    case v1::Layer::kDropout:
    case v1::Layer::kScale:
      return steps.Passing(in, out);
    case v1::Layer::kGlobalAveragePool:
    case v1::Layer::kEmbedding:
      return steps.Sum(in, out);
    case v1::Layer::kAttention: {
      const std::int64_t time = plan.input.size() > 1 ? plan.input.front() : 1;
      const std::int64_t width = plan.input.empty() ? 1 : plan.input.back();
      steps.Product(in, 3 * in);
      steps.Attention(time, width, plan.layer.attention().heads());
      return steps.Product(in, out);
    }
    case v1::Layer::kResidual: {
      const std::int64_t stream = steps.Enter(in);
      Layers(plan.inner, steps);
      return steps.Leave(in, stream);
    }
    case v1::Layer::kFlatten:
    case v1::Layer::KIND_NOT_SET:
      break;
  }
}

void Layers(const std::vector<LayerPlan>& plans, Steps& steps) {
  for (const LayerPlan& plan : plans) Layer(plan, steps);
}

std::int64_t LayeredBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low) {
  const std::vector<LayerPlan> plans = PlanLayers(model, sample);
  if (plans.empty()) return 0;
  const bool tokens = ReadsTokens(model);
  // A model of tokens has a row of logits, and a target, at every position.
  const std::int64_t rows = tokens ? ContextOf(model) : 1;
  Steps steps(low);
  steps.Input(Elements(plans.front().input), tokens ? kIndexBytes : kFullBytes, rows);
  Layers(plans, steps);
  return steps.Finish(rows, Elements(plans.back().output) / rows);
}

}  // namespace

std::int64_t ActivationBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low,
                             std::int64_t samples) {
  if (model.has_gpt()) return GptBytes(model.gpt(), low, samples);
  std::int64_t of_one = 0;
  if (model.has_mlp()) of_one = MlpBytes(model.mlp(), sample, low);
  if (model.has_transformer_encoder()) of_one = TransformerEncoderBytes(model.transformer_encoder(), sample, low);
  if (IsLayered(model)) of_one = LayeredBytes(model, sample, low);
  return Times(samples, of_one);
}

}  // namespace mantissa::spec
