#include "proto/spec/layer_plan.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/named_layers.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kMaxSampleElements = std::int64_t{1} << 30;

std::string Text(const Shape& shape) { return absl::StrCat("(", absl::StrJoin(shape, ", "), ")"); }

// Of a layer with parameters; an attention's are linear layers.
ModuleType TypeOf(const v1::Layer& layer) {
  switch (layer.kind_case()) {
    case v1::Layer::kConv1D:
      return ModuleType::kConv1d;
    case v1::Layer::kConv2D:
      return ModuleType::kConv2d;
    case v1::Layer::kBatchNorm1D:
      return ModuleType::kBatchNorm1d;
    case v1::Layer::kBatchNorm2D:
      return ModuleType::kBatchNorm2d;
    case v1::Layer::kBatchNorm3D:
      return ModuleType::kBatchNorm3d;
    case v1::Layer::kLayerNorm:
      return ModuleType::kLayerNorm;
    case v1::Layer::kRmsNorm:
      return ModuleType::kRmsNorm;
    case v1::Layer::kEmbedding:
      return ModuleType::kEmbedding;
    default:
      return ModuleType::kLinear;
  }
}

// Works out the shapes of one layer after another. Each Plan function writes the output, parameters and operations of
// the layer it is given, or a violation and returns false.
class Planner {
 public:
  // `classes`: what the last layer has to give.
  explicit Planner(std::int64_t classes) : classes_(classes) {}

  // `shape`: what the first reads; becomes what the last gives.
  bool Plan(std::span<const NamedLayer> layers, Shape& shape, std::vector<LayerPlan>& plans) {
    for (const NamedLayer& named : layers) {
      LayerPlan plan;
      plan.path = named.path;
      plan.layer = named.layer;
      plan.input = shape;
      plan.initial_weight = named.initial_weight;
      Checker at = named.at.Beneath(KindOf(named.layer));
      if (!PlanOne(plan, at)) return false;
      for (Parameter& parameter : plan.parameters) parameter.module = TypeOf(plan.layer);
      if (Elements(plan.output) > kMaxSampleElements) {
        at.Add("", ViolationReason::kOutOfRange,
               absl::StrCat("gives ", Text(plan.output), ", ", Elements(plan.output), " numbers a sample; at most ",
                            kMaxSampleElements, " are allowed: lower its width or padding, or pool before it"));
        return false;
      }
      shape = plan.output;
      plans.push_back(std::move(plan));
    }
    return true;
  }

 private:
  static std::string KindOf(const v1::Layer& layer) {
    return layer.GetDescriptor()->FindFieldByNumber(layer.kind_case())->name();
  }

  bool PlanOne(LayerPlan& plan, Checker& at) {
    using Layer = v1::Layer;
    plan.output = plan.input;
    switch (plan.layer.kind_case()) {
      case Layer::kLinear:
        return PlanLinear(plan, at);
      case Layer::kConv1D:
        return PlanConv1d(plan, at);
      case Layer::kConv2D:
        return PlanConv2d(plan, at);
      case Layer::kBatchNorm1D:
        return ReadsFeatures(plan, at) && AddBatchNorm(plan, plan.input.back());
      case Layer::kBatchNorm2D:
        return ReadsRank(plan, 3, 3, "(channels, rows, columns)", "put it after a conv2d", at) &&
               AddBatchNorm(plan, plan.input[0]);
      case Layer::kBatchNorm3D:
        return ReadsRank(plan, 4, 4, "(channels, depth, rows, columns)", "use batch_norm1d or batch_norm2d", at) &&
               AddBatchNorm(plan, plan.input[0]);
      case Layer::kLayerNorm:
        if (!ReadsFeatures(plan, at)) return false;
        AddNorm(plan);
        return true;
      case Layer::kRmsNorm:
        if (!ReadsFeatures(plan, at)) return false;
        plan.parameters.push_back({plan.path + ".weight", {plan.input.back()}, ParameterKind::kNorm});
        return true;
      case Layer::kLogSoftmax:
        return ReadsFeatures(plan, at);
      case Layer::kMaxPool1D:
        return PlanPool1d(plan, plan.layer.max_pool1d(), at);
      case Layer::kAveragePool1D:
        return PlanPool1d(plan, plan.layer.average_pool1d(), at);
      case Layer::kMaxPool2D:
        return PlanPool2d(plan, plan.layer.max_pool2d(), at);
      case Layer::kAveragePool2D:
        return PlanPool2d(plan, plan.layer.average_pool2d(), at);
      case Layer::kGlobalAveragePool:
        if (!ReadsRank(plan, 2, 4, "(time, features) or channels of places", "remove it", at)) return false;
        plan.output = {plan.input.size() == 2 ? plan.input[1] : plan.input[0]};
        return true;
      case Layer::kFlatten:
        plan.output = {Elements(plan.input)};
        return true;
      case Layer::kEmbedding:
        at.Add("", ViolationReason::kConflict,
               "reads tokens, so it is allowed as the first layer only; use linear to change a width");
        return false;
      case Layer::kAttention:
        return PlanAttention(plan, at);
      case Layer::kResidual:
        return PlanResidual(plan, at);
      case Layer::kRelu:
      case Layer::kGelu:
      case Layer::kTanh:
      case Layer::kDropout:
      case Layer::kScale:
      case Layer::KIND_NOT_SET:
        return true;
    }
    return true;
  }

  static bool ReadsRank(const LayerPlan& plan, std::size_t least, std::size_t most, std::string_view what,
                        std::string_view remedy, Checker& at) {
    const std::size_t rank = plan.input.size();
    if (rank >= least && rank <= most) return true;
    at.Add("", ViolationReason::kConflict,
           absl::StrCat("is given ", Text(plan.input), ", but reads ", std::string(what), "; ", std::string(remedy)));
    return false;
  }

  static bool ReadsFeatures(const LayerPlan& plan, Checker& at) {
    return ReadsRank(plan, 1, 2, "(features) or (time, features)", "put flatten or global_average_pool before it", at);
  }

  static void AddWeight(LayerPlan& plan, Shape shape, bool bias) {
    const std::int64_t out = shape[0];
    plan.parameters.push_back({plan.path + ".weight", std::move(shape), ParameterKind::kWeight});
    if (bias) plan.parameters.push_back({plan.path + ".bias", {out}, ParameterKind::kBias});
  }

  static void AddNorm(LayerPlan& plan, std::int64_t width = 0) {
    const std::int64_t size = width > 0 ? width : plan.input.back();
    plan.parameters.push_back({plan.path + ".weight", {size}, ParameterKind::kNorm});
    plan.parameters.push_back({plan.path + ".bias", {size}, ParameterKind::kNorm});
  }

  static bool AddBatchNorm(LayerPlan& plan, std::int64_t channels) {
    AddNorm(plan, channels);
    plan.buffers.push_back({plan.path + ".running_mean", {channels}, ParameterKind::kNorm});
    plan.buffers.push_back({plan.path + ".running_var", {channels}, ParameterKind::kNorm});
    return true;
  }

  bool PlanLinear(LayerPlan& plan, Checker& at) const {
    if (!ReadsFeatures(plan, at)) return false;
    const v1::Layer::Linear& linear = plan.layer.linear();
    const std::int64_t in = plan.input.back();
    const std::int64_t out = linear.has_out() ? linear.out() : classes_;
    plan.output.back() = out;
    AddWeight(plan, {out, in}, linear.bias());
    plan.operations = SaturatingMultiply(Elements(plan.output), in);
    return true;
  }

  // Places that a window has along `size`.
  static bool PlanWindow(std::string_view along, std::int64_t size, std::int64_t kernel, std::int64_t stride,
                         std::int64_t padding, Checker& at, std::int64_t& places) {
    const std::int64_t padded = size + 2 * padding;
    if (kernel > padded) {
      at.Add("kernel", ViolationReason::kConflict,
             absl::StrCat("is ", kernel, ", but there are only ", padded, " ", std::string(along),
                          padding > 0 ? " with their padding" : "", "; at most ", padded,
                          " is allowed here: lower it, or pool less before it"));
      return false;
    }
    places = (padded - kernel) / stride + 1;
    return true;
  }

  static bool CheckGroups(const v1::Layer::Convolution& convolution, std::int64_t in, Checker& at) {
    const std::int64_t groups = convolution.groups();
    if (in % groups == 0 && convolution.out() % groups == 0) return true;
    at.Add("groups", ViolationReason::kConflict,
           absl::StrCat("is ", groups, ", which does not divide both the ", in, " that go in and the ",
                        convolution.out(), " that come out; use a divisor of both, such as 1"));
    return false;
  }

  static void AddConvolution(LayerPlan& plan, const v1::Layer::Convolution& convolution, std::int64_t in, int sides) {
    Shape weight = {convolution.out(), in / convolution.groups()};
    for (int i = 0; i < sides; ++i) weight.push_back(convolution.kernel());
    plan.operations = SaturatingMultiply(Elements(plan.output), Elements(weight) / convolution.out());
    AddWeight(plan, std::move(weight), convolution.bias());
  }

  bool PlanConv1d(LayerPlan& plan, Checker& at) const {
    if (!ReadsRank(plan, 1, 2, "(time, features)", "use conv2d for images", at)) return false;
    const v1::Layer::Convolution& convolution = plan.layer.conv1d();
    const std::int64_t in = plan.input.size() == 1 ? 1 : plan.input[1];
    plan.output = {0, convolution.out()};
    if (!CheckGroups(convolution, in, at)) return false;
    if (!PlanWindow("places in time", plan.input[0], convolution.kernel(), convolution.stride(), convolution.padding(),
                    at, plan.output[0])) {
      return false;
    }
    AddConvolution(plan, convolution, in, 1);
    return true;
  }

  static bool ReadsImage(const LayerPlan& plan, Checker& at) {
    return ReadsRank(plan, 2, 3, "(channels, rows, columns) or (rows, columns)", "give the data rows and columns", at);
  }

  // Rows and columns after windows over them; one channel where the input has none.
  static bool PlanWindows2d(LayerPlan& plan, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                            Checker& at) {
    if (plan.output.size() == 2) plan.output.insert(plan.output.begin(), 1);
    return PlanWindow("rows", plan.output[1], kernel, stride, padding, at, plan.output[1]) &&
           PlanWindow("columns", plan.output[2], kernel, stride, padding, at, plan.output[2]);
  }

  bool PlanConv2d(LayerPlan& plan, Checker& at) const {
    if (!ReadsImage(plan, at)) return false;
    const v1::Layer::Convolution& convolution = plan.layer.conv2d();
    const std::int64_t in = plan.input.size() == 2 ? 1 : plan.input[0];
    if (!CheckGroups(convolution, in, at)) return false;
    if (!PlanWindows2d(plan, convolution.kernel(), convolution.stride(), convolution.padding(), at)) return false;
    plan.output[0] = convolution.out();
    AddConvolution(plan, convolution, in, 2);
    return true;
  }

  bool PlanPool1d(LayerPlan& plan, const v1::Layer::Pool& pool, Checker& at) const {
    return ReadsRank(plan, 2, 2, "(time, features)", "give the data time and features", at) &&
           PlanWindow("places in time", plan.input[0], pool.kernel(), pool.stride(), 0, at, plan.output[0]);
  }

  bool PlanPool2d(LayerPlan& plan, const v1::Layer::Pool& pool, Checker& at) const {
    return ReadsImage(plan, at) && PlanWindows2d(plan, pool.kernel(), pool.stride(), 0, at);
  }

  bool PlanAttention(LayerPlan& plan, Checker& at) const {
    if (!ReadsRank(plan, 2, 2, "(time, features)", "give the data time and features", at)) return false;
    const std::int64_t time = plan.input[0];
    const std::int64_t width = plan.input[1];
    const std::int64_t heads = plan.layer.attention().heads();
    if (width % heads != 0) {
      at.Add("heads", ViolationReason::kConflict,
             absl::StrCat("is ", heads, ", which does not divide the ", width,
                          " features that it is given; use a divisor of them, such as 1"));
      return false;
    }
    LayerPlan qkv, proj;
    qkv.path = plan.path + ".qkv";
    proj.path = plan.path + ".proj";
    AddWeight(qkv, {3 * width, width}, true);
    AddWeight(proj, {width, width}, true);
    plan.parameters = std::move(qkv.parameters);
    plan.parameters.insert(plan.parameters.end(), proj.parameters.begin(), proj.parameters.end());
    plan.operations = SaturatingMultiply(SaturatingMultiply(time, width), SaturatingAdd(4 * width, 2 * time));
    return true;
  }

  bool PlanResidual(LayerPlan& plan, Checker& at) {
    if (!Plan(NamedLayers(plan.layer.residual().layers(), plan.path, at), plan.output, plan.inner)) return false;
    if (plan.output == plan.input) return true;
    at.Add("", ViolationReason::kConflict,
           absl::StrCat("is given ", Text(plan.input), " and its layers give ", Text(plan.output),
                        "; they must give the shape that they read, so that the two can be added"));
    return false;
  }

  const std::int64_t classes_;
};

// The first layer of a model of tokens.
LayerPlan PlanEmbedding(const NamedLayer& named) {
  const v1::Layer::Embedding& embedding = named.layer.embedding();
  LayerPlan plan;
  plan.path = named.path;
  plan.layer = named.layer;
  plan.input = {embedding.context()};
  plan.output = {embedding.context(), embedding.width()};
  plan.parameters.push_back({plan.path + ".weight",
                             {embedding.vocabulary(), embedding.width()},
                             ParameterKind::kEmbedding,
                             TypeOf(plan.layer)});
  if (embedding.positions()) {
    plan.parameters.push_back({plan.path + ".positions",
                               {embedding.context(), embedding.width()},
                               ParameterKind::kEmbedding,
                               TypeOf(plan.layer)});
  }
  return plan;
}

// A convnet has no layers in the spec to name: what can be wrong is its number of stages.
bool CheckConvnet(const v1::Convnet& convnet, const SampleShape& sample, Checker checker) {
  const Shape& shape = sample.features;
  if (shape.size() != 2 && shape.size() != 3) {
    checker.Add("", ViolationReason::kConflict,
                absl::StrCat("is given ", Text(shape),
                             ", but reads (rows, columns) or (channels, rows, columns); use other data or model mlp"));
    return false;
  }
  const std::int64_t smaller = std::min(shape[shape.size() - 2], shape[shape.size() - 1]);
  int stages = 0;
  while (stages < convnet.channels_size() && smaller >> (stages + 1) > 0) ++stages;
  if (stages == convnet.channels_size()) return true;
  checker.Add("channels", ViolationReason::kConflict,
              absl::StrCat("has ", convnet.channels_size(),
                           " stages, each of which halves rows and columns; images of ", shape[shape.size() - 2], " x ",
                           shape[shape.size() - 1], " allow ", stages, ": remove some, or use larger images"));
  return false;
}

// The last layer gives what the loss reads.
bool CheckLogits(const Shape& shape, const Shape& wanted, bool tokens, Checker& checker) {
  if (shape == wanted) return true;
  checker.Add("sequential.layers", ViolationReason::kConflict,
              absl::StrCat("give ", Text(shape), ", but the loss reads ", Text(wanted),
                           tokens ? ", one number for every token at every position" : ", one number a class",
                           "; end with linear: {}, which gives that many, after flatten or global_average_pool where "
                           "needed"));
  return false;
}

}  // namespace

bool IsLayered(const v1::Model& model) {
  return model.has_convnet() || model.has_sequential() || model.has_pathological();
}

std::int64_t Elements(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count = SaturatingMultiply(count, size);
  return count;
}

std::optional<std::vector<LayerPlan>> PlanLayers(const v1::Model& model, const SampleShape& sample, Checker checker) {
  if (model.has_convnet() && !CheckConvnet(model.convnet(), sample, checker.Beneath("convnet"))) return std::nullopt;
  const std::vector<NamedLayer> named = NamedLayers(model, checker);
  const bool tokens = ReadsTokens(model);
  std::vector<LayerPlan> plans;
  Shape shape = sample.features;
  Shape wanted = {sample.classes};
  if (tokens) {
    plans.push_back(PlanEmbedding(named[0]));
    shape = plans[0].output;
    wanted = {plans[0].input[0], plans[0].layer.embedding().vocabulary()};
  }
  const std::span<const NamedLayer> rest = std::span(named).subspan(tokens ? 1 : 0);
  if (!Planner(wanted.back()).Plan(rest, shape, plans)) return std::nullopt;
  if (!CheckLogits(shape, wanted, tokens, checker)) return std::nullopt;
  return plans;
}

std::vector<LayerPlan> PlanLayers(const v1::Model& model, const SampleShape& sample) {
  std::vector<Violation> violations;
  return PlanLayers(model, sample, Checker(violations, "model")).value_or(std::vector<LayerPlan>());
}

std::int64_t OperationsOf(const std::vector<LayerPlan>& layers) {
  std::int64_t operations = 0;
  ForEachLayer(layers, [&](const LayerPlan& layer) { operations = SaturatingAdd(operations, layer.operations); });
  return operations;
}

}  // namespace mantissa::spec
