#include "proto/spec/named_layers.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "proto/spec/model_defaults.h"

namespace mantissa::spec {
namespace {

// Collects layers whose faults are all said of one message.
class Layers {
 public:
  explicit Layers(Checker at) : at_(std::move(at)) {}

  // The new layer, to be filled in.
  v1::Layer& Add(std::string path, std::optional<double> initial_weight = std::nullopt) {
    return layers_.push_back({std::move(path), {}, at_, initial_weight}), layers_.back().layer;
  }

  std::vector<NamedLayer> Take() {
    for (NamedLayer& named : layers_) ResolveLayer(named.layer, /*tokens=*/false);
    return std::move(layers_);
  }

 private:
  const Checker at_;
  std::vector<NamedLayer> layers_;
};

std::vector<NamedLayer> ConvnetLayers(const v1::Convnet& convnet, const Checker& at) {
  Layers layers(at);
  for (int stage = 0; stage < convnet.channels_size(); ++stage) {
    for (int i = 0; i < convnet.convolutions(); ++i) {
      const std::string path = absl::StrCat("stages.", stage, ".", i);
      v1::Layer::Convolution& convolution = *layers.Add(path + ".conv").mutable_conv2d();
      convolution.set_out(convnet.channels(stage));
      convolution.set_kernel(3);
      convolution.set_padding(1);
      convolution.set_bias(false);
      layers.Add(path + ".norm").mutable_batch_norm2d();
      layers.Add(path + ".relu").mutable_relu();
    }
    layers.Add(absl::StrCat("stages.", stage, ".pool")).mutable_max_pool2d()->set_kernel(2);
  }
  layers.Add("pool").mutable_global_average_pool();
  layers.Add("head").mutable_linear();
  return layers.Take();
}

std::vector<NamedLayer> PathologicalLayers(const v1::Pathological& model, const Checker& at) {
  Layers layers(at);
  layers.Add("flatten").mutable_flatten();
  layers.Add("tiny", model.tiny_weight()).mutable_linear()->set_out(model.width());
  layers.Add("tanh1").mutable_tanh();
  layers.Add("huge", model.huge_weight()).mutable_linear()->set_out(model.width());
  layers.Add("tanh2").mutable_tanh();
  layers.Add("head").mutable_linear();
  return layers.Take();
}

}  // namespace

std::vector<NamedLayer> NamedLayers(const google::protobuf::RepeatedPtrField<v1::Layer>& layers,
                                    const std::string& path, const Checker& checker) {
  std::vector<NamedLayer> named;
  for (int i = 0; i < layers.size(); ++i) {
    named.push_back({absl::StrCat(path, path.empty() ? "" : ".", "layers.", i), layers[i],
                     checker.Beneath(Indexed("layers", i)), std::nullopt});
  }
  return named;
}

std::vector<NamedLayer> NamedLayers(const v1::Model& model, Checker checker) {
  if (model.has_convnet()) return ConvnetLayers(model.convnet(), checker.Beneath("convnet"));
  if (model.has_pathological()) return PathologicalLayers(model.pathological(), checker.Beneath("pathological"));
  return NamedLayers(model.sequential().layers(), "", checker.Beneath("sequential"));
}

}  // namespace mantissa::spec
