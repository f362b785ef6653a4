#include "worker/models/linear_init.h"

#include <cmath>
#include <string_view>

#include "worker/models/initialise.h"

namespace mantissa::trainer {

void InitialiseLikeLinear(ParameterBuffer& parameters, std::uint64_t seed) {
  double inputs = 1;  // that one output of the layer under way sees: its weight comes before its bias
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    const Parameter& parameter = parameters.parameters()[i];
    const InitialKey key{seed, static_cast<std::uint32_t>(i)};
    const std::string_view path = parameter.shape.path;
    switch (parameter.shape.kind) {
      case spec::ParameterKind::kWeight: {
        const double outputs = static_cast<double>(parameter.shape.shape[0]);
        inputs = static_cast<double>(parameter.shape.elements()) / outputs;
        const bool xavier = path.ends_with(".qkv.weight");
        FillUniform(parameter.value, key, xavier ? std::sqrt(6 / (inputs + outputs)) : 1 / std::sqrt(inputs));
        break;
      }
      case spec::ParameterKind::kBias:
        if (path.ends_with(".qkv.bias") || path.ends_with(".proj.bias")) {
          FillConstant(parameter.value, 0);
        } else {
          FillUniform(parameter.value, key, 1 / std::sqrt(inputs));
        }
        break;
      case spec::ParameterKind::kNorm:
        FillConstant(parameter.value, path.ends_with(".weight") ? 1 : 0);
        break;
      case spec::ParameterKind::kEmbedding:
        FillNormal(parameter.value, key, 0.02);
        break;
    }
  }
}

}  // namespace mantissa::trainer
