// The fields of models that are lists of layers; how the layers fit together is PlanLayers' affair.
#include <cmath>

#include "absl/strings/str_cat.h"

#include "proto/spec/layer_plan.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr int kMaxLayers = 1024;
constexpr int kMaxNesting = 8;
constexpr int kMaxStages = 16;
constexpr std::int32_t kMaxOut = 1'048'576;
constexpr std::int32_t kMaxChannels = 65'536;
constexpr std::int32_t kMaxKernel = 1024;
constexpr Interval kEpsilon = {.min = 1e-12, .max = 1};

bool CheckConvolution(const v1::Layer::Convolution& convolution, Checker checker) {
  bool right = checker.Whole("out", convolution.out(), 1, kMaxChannels, 32);
  right &= checker.Whole("kernel", convolution.kernel(), 1, kMaxKernel, 3);
  right &= checker.Whole("stride", convolution.stride(), 1, kMaxKernel, 1);
  right &= checker.Whole("padding", convolution.padding(), 0, kMaxKernel, 1);
  return checker.Whole("groups", convolution.groups(), 1, kMaxChannels, 1) && right;
}

bool CheckBatchNorm(const v1::Layer::BatchNorm& norm, Checker checker) {
  const bool epsilon = checker.Number("epsilon", norm.epsilon(), kEpsilon, "1e-5");
  return checker.Number("momentum", norm.momentum(), {.min = 0, .max = 1, .min_open = true}, "0.1") && epsilon;
}

bool CheckPool(const v1::Layer::Pool& pool, Checker checker) {
  const bool kernel = checker.Whole("kernel", pool.kernel(), 1, kMaxKernel, 2);
  return checker.Whole("stride", pool.stride(), 1, kMaxKernel, 2) && kernel;
}

bool CheckEmbedding(const v1::Layer::Embedding& embedding, Checker checker) {
  bool right = checker.Whole("width", embedding.width(), 1, kMaxChannels, 128);
  right &= checker.Whole("context", embedding.context(), 1, kMaxContext, 128);
  // Absent where the data is not tokens; that is said of the data.
  if (!embedding.has_vocabulary()) return right;
  return checker.Whole("vocabulary", embedding.vocabulary(), 2, kMaxVocabulary, 256) && right;
}

// A constant that weights or activations are made with: zero, where it makes sense, or far from the ends of FP32.
bool CheckConstant(std::string_view field, double value, bool zero, std::string_view example, Checker& checker) {
  constexpr double kSmallest = 1e-30;
  if (zero && value == 0) return true;
  if (std::abs(value) < kSmallest) {
    checker.Add(field, ViolationReason::kOutOfRange,
                absl::StrCat("is ", value, "; a magnitude of ", kSmallest, " to 1e30 is allowed, such as ",
                             std::string(example)));
    return false;
  }
  return checker.Number(field, value, {.min = -1e30, .max = 1e30}, example);
}

// Counts layers, those in groups included.
class LayerChecker {
 public:
  bool Check(const google::protobuf::RepeatedPtrField<v1::Layer>& layers, int depth, Checker checker) {
    if (layers.empty()) {
      checker.Add("layers", ViolationReason::kRequired, "is missing; give at least one layer, such as [{linear: {}}]");
      return false;
    }
    if (depth > kMaxNesting) {
      checker.Add("layers", ViolationReason::kOutOfRange,
                  absl::StrCat("stand in more than ", kMaxNesting, " residual groups; nest them less deep"));
      return false;
    }
    bool right = true;
    for (int i = 0; i < layers.size(); ++i) {
      if (++count_ > kMaxLayers) {
        checker.Add("layers", ViolationReason::kOutOfRange,
                    absl::StrCat("make more than ", kMaxLayers, " layers in all; 1 to ", kMaxLayers, " are allowed"));
        return false;
      }
      right &= CheckLayer(layers[i], depth, checker.Beneath(Indexed("layers", i)));
    }
    return right;
  }

 private:
  bool CheckLayer(const v1::Layer& layer, int depth, Checker checker) {
    switch (layer.kind_case()) {
      case v1::Layer::kLinear:
        return !layer.linear().has_out() ||
               checker.Beneath("linear").Whole("out", layer.linear().out(), 1, kMaxOut, 64);
      case v1::Layer::kConv1D:
        return CheckConvolution(layer.conv1d(), checker.Beneath("conv1d"));
      case v1::Layer::kConv2D:
        return CheckConvolution(layer.conv2d(), checker.Beneath("conv2d"));
      case v1::Layer::kBatchNorm1D:
        return CheckBatchNorm(layer.batch_norm1d(), checker.Beneath("batch_norm1d"));
      case v1::Layer::kBatchNorm2D:
        return CheckBatchNorm(layer.batch_norm2d(), checker.Beneath("batch_norm2d"));
      case v1::Layer::kBatchNorm3D:
        return CheckBatchNorm(layer.batch_norm3d(), checker.Beneath("batch_norm3d"));
      case v1::Layer::kLayerNorm:
        return checker.Beneath("layer_norm").Number("epsilon", layer.layer_norm().epsilon(), kEpsilon, "1e-5");
      case v1::Layer::kRmsNorm:
        return checker.Beneath("rms_norm").Number("epsilon", layer.rms_norm().epsilon(), kEpsilon, "1e-6");
      case v1::Layer::kDropout:
        return checker.Beneath("dropout").Number("probability", layer.dropout().probability(),
                                                 {.min = 0, .max = 1, .max_open = true}, "0.1");
      case v1::Layer::kScale: {
        Checker scale = checker.Beneath("scale");
        return CheckConstant("factor", layer.scale().factor(), /*zero=*/false, "0.5", scale);
      }
      case v1::Layer::kMaxPool1D:
        return CheckPool(layer.max_pool1d(), checker.Beneath("max_pool1d"));
      case v1::Layer::kMaxPool2D:
        return CheckPool(layer.max_pool2d(), checker.Beneath("max_pool2d"));
      case v1::Layer::kAveragePool1D:
        return CheckPool(layer.average_pool1d(), checker.Beneath("average_pool1d"));
      case v1::Layer::kAveragePool2D:
        return CheckPool(layer.average_pool2d(), checker.Beneath("average_pool2d"));
      case v1::Layer::kEmbedding:
        return CheckEmbedding(layer.embedding(), checker.Beneath("embedding"));
      case v1::Layer::kAttention:
        return checker.Beneath("attention").Whole("heads", layer.attention().heads(), 1, 1024, 4);
      case v1::Layer::kResidual:
        return Check(layer.residual().layers(), depth + 1, checker.Beneath("residual"));
      case v1::Layer::kRelu:
      case v1::Layer::kGelu:
      case v1::Layer::kTanh:
      case v1::Layer::kLogSoftmax:
      case v1::Layer::kGlobalAveragePool:
      case v1::Layer::kFlatten:
        return true;
      case v1::Layer::KIND_NOT_SET:
        break;
    }
    checker.Add("", ViolationReason::kRequired, "names no layer; name one, such as {linear: {out: 64}} or {relu: {}}");
    return false;
  }

  int count_ = 0;
};

}  // namespace

bool CheckConvnet(const v1::Convnet& convnet, Checker checker) {
  if (convnet.channels_size() > kMaxStages) {
    checker.Add(
        "channels", ViolationReason::kOutOfRange,
        absl::StrCat("has ", convnet.channels_size(), " stages; 1 to ", kMaxStages, " are allowed, such as [16, 32]"));
    return false;
  }
  bool right = true;
  for (int i = 0; i < convnet.channels_size(); ++i) {
    right &= checker.Whole(Indexed("channels", i), convnet.channels(i), 1, kMaxChannels, 32);
  }
  return checker.Whole("convolutions", convnet.convolutions(), 1, kMaxStages, 1) && right;
}

bool CheckSequential(const v1::Sequential& sequential, Checker checker) {
  return LayerChecker().Check(sequential.layers(), 0, checker);
}

bool CheckPathological(const v1::Pathological& model, Checker checker) {
  bool right = checker.Whole("width", model.width(), 1, kMaxChannels, 100);
  right &= CheckConstant("tiny_weight", model.tiny_weight(), /*zero=*/true, "1e-6", checker);
  return CheckConstant("huge_weight", model.huge_weight(), /*zero=*/true, "1e3", checker) && right;
}

bool CheckModelFits(const v1::TrainingSpec& training, const SampleShape& sample, Checker checker) {
  if (!IsLayered(training.model())) return true;
  const auto layers = PlanLayers(training.model(), sample, checker);
  if (!layers) return false;
  if (training.batch_size() > training.accumulation()) return true;
  bool right = true;
  ForEachLayer(*layers, [&](const LayerPlan& layer) {
    // Of (features) there is one value a channel and sample.
    if (layer.buffers.empty() || Elements(layer.input) > layer.buffers[0].elements()) return;
    checker.Add("", ViolationReason::kConflict,
                absl::StrCat("has batch norm over single values: ", layer.path, " sees one sample in each of the ",
                             training.accumulation(), " micro-batches of batch_size ", training.batch_size(),
                             "; lower training.accumulation, or use layer_norm"));
    right = false;
  });
  return right;
}

}  // namespace mantissa::spec
