#include "client/cli/advise/model_products.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "proto/spec/layer_plan.h"
#include "proto/spec/model_shape.h"

namespace mantissa::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::size_t kMostProducts = 12;
constexpr std::int64_t kMaxSide = 65'536;  // of MatrixShape

// Rows beyond what a study takes are cut to it: the time grows in proportion to them.
void Add(const spec::Parameter& parameter, std::int64_t rows, std::vector<ModelProduct>& products) {
  const std::int64_t n = parameter.shape[0];
  const std::int64_t k = parameter.shape[1];
  if (rows < 1 || n > kMaxSide || k > kMaxSide) return;
  ModelProduct product{.path = parameter.path, .shape = {}};
  product.shape.set_m(static_cast<std::int32_t>(std::min(rows, kMaxSide)));
  product.shape.set_n(static_cast<std::int32_t>(n));
  product.shape.set_k(static_cast<std::int32_t>(k));
  products.push_back(std::move(product));
}

bool IsLinear(const spec::Parameter& parameter) {
  return spec::IsProductOperand(parameter) && parameter.shape.size() == 2 &&
         (parameter.module == spec::ModuleType::kLinear || parameter.module == spec::ModuleType::kEmbedding);
}

// Places of one sample that a layer of the encoder, of gpt or of mlp sees, each a row.
std::int64_t PlacesOf(const v1::TrainingSpec& training, const spec::SampleShape& sample, const std::string& path) {
  if (training.model().has_gpt()) return spec::ContextOf(training.model());
  const bool sequence = training.model().has_transformer_encoder() && path != "head.weight";
  return sequence && sample.features.size() == 2 ? sample.features[0] : 1;
}

double WorkOf(const v1::MatrixShape& shape) {
  return static_cast<double>(shape.m()) * static_cast<double>(shape.n()) * static_cast<double>(shape.k());
}

// Names of fields that are the width of something a product reads or gives.
bool IsWidth(const std::string& name) {
  static const std::set<std::string>& widths =
      *new std::set<std::string>{"hidden", "d_model", "d_feed_forward", "vocabulary", "out", "width"};
  return widths.contains(name);
}

std::string FindWidth(const Message& message, std::int32_t width, const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const std::string at =
          absl::StrCat(path, ".", field->name(), field->is_repeated() ? absl::StrCat("[", i, "]") : "");
      if (field->message_type() != nullptr) {
        const Message& inner = field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                    : reflection.GetMessage(message, field);
        if (const std::string found = FindWidth(inner, width, at); !found.empty()) return found;
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 && IsWidth(field->name())) {
        const std::int32_t value =
            field->is_repeated() ? reflection.GetRepeatedInt32(message, field, i) : reflection.GetInt32(message, field);
        if (value == width) return at;
      }
    }
  }
  return "";
}

}  // namespace

std::int64_t MicroBatchOf(const v1::TrainingSpec& training) {
  const std::int64_t pieces = std::max(1, training.accumulation());
  return (std::int64_t{training.batch_size()} + pieces - 1) / pieces;
}

std::vector<ModelProduct> ProductsOf(const v1::TrainingSpec& training) {
  const std::optional<spec::SampleShape> sample = spec::SampleShapeOf(training);
  if (!sample) return {};
  const std::int64_t micro_batch = MicroBatchOf(training);
  std::vector<ModelProduct> products;
  if (spec::IsLayered(training.model())) {
    const std::vector<spec::LayerPlan> layers = spec::PlanLayers(training.model(), *sample);
    spec::ForEachLayer(layers, [&](const spec::LayerPlan& layer) {
      for (const spec::Parameter& parameter : layer.parameters) {
        if (!IsLinear(parameter) || parameter.module != spec::ModuleType::kLinear) continue;
        const std::int64_t places = spec::Elements(layer.output) / std::max<std::int64_t>(1, layer.output.back());
        Add(parameter, micro_batch * places, products);
      }
    });
  } else {
    for (const spec::Parameter& parameter : spec::ModelParameters(training.model(), *sample)) {
      if (IsLinear(parameter)) Add(parameter, micro_batch * PlacesOf(training, *sample, parameter.path), products);
    }
  }
  std::stable_sort(products.begin(), products.end(),
                   [](const ModelProduct& a, const ModelProduct& b) { return WorkOf(a.shape) > WorkOf(b.shape); });
  std::set<std::tuple<int, int, int>> seen;
  std::erase_if(products, [&](const ModelProduct& product) {
    return !seen.emplace(product.shape.m(), product.shape.n(), product.shape.k()).second;
  });
  if (products.size() > kMostProducts) products.resize(kMostProducts);
  return products;
}

std::string FieldOfWidth(const v1::TrainingSpec& training, std::int32_t width) {
  return FindWidth(training.model(), width, "training.model");
}

}  // namespace mantissa::cli
