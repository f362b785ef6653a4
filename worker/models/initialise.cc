#include "worker/models/initialise.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

void Fill(const at::Tensor& parameter, const InitialKey& key, double width, bool normal) {
  static const auto op = FindOp<void(at::Tensor, std::int64_t, std::int64_t, double, bool)>("mantissa::fill_initial_");
  const c10::AutoGradMode off(false);
  const bool direct = parameter.scalar_type() == at::kFloat && parameter.is_contiguous();
  const at::Tensor values =
      direct ? parameter.detach() : at::empty(parameter.sizes(), parameter.options().dtype(at::kFloat));
  op.call(values, static_cast<std::int64_t>(key.seed), key.parameter, width, normal);
  if (!direct) parameter.copy_(values);
}

}  // namespace

void FillConstant(const at::Tensor& parameter, double value) {
  const c10::AutoGradMode off(false);
  parameter.fill_(value);
}

void FillUniform(const at::Tensor& parameter, const InitialKey& key, double bound) {
  Fill(parameter, key, bound, /*normal=*/false);
}

void FillNormal(const at::Tensor& parameter, const InitialKey& key, double deviation) {
  Fill(parameter, key, deviation, /*normal=*/true);
}

}  // namespace mantissa::trainer
