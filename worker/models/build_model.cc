#include <c10/util/Exception.h>

#include "worker/models/gpt.h"
#include "worker/models/layered_model.h"
#include "worker/models/mlp.h"
#include "worker/models/model.h"
#include "worker/models/transformer_encoder.h"

namespace mantissa::trainer {

std::unique_ptr<Model> BuildModel(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed,
                                  at::Device device) {
  switch (model.kind_case()) {
    case v1::Model::kMlp:
      return std::make_unique<Mlp>(model, sample, seed, device);
    case v1::Model::kTransformerEncoder:
      return std::make_unique<TransformerEncoder>(model, sample, seed, device);
    case v1::Model::kGpt:
      return std::make_unique<Gpt>(model, sample, seed, device);
    case v1::Model::kConvnet:
    case v1::Model::kSequential:
    case v1::Model::kPathological:
      return std::make_unique<LayeredModel>(model, sample, seed, device);
    case v1::Model::KIND_NOT_SET:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "a model without a kind passed validation");
}

}  // namespace mantissa::trainer
