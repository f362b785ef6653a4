#include "worker/models/running_statistics.h"

#include <algorithm>
#include <cstdint>

#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer {
namespace {

std::vector<NamedTensor> ViewsOf(const std::vector<spec::Parameter>& shapes, const at::Tensor& flat) {
  std::vector<NamedTensor> views;
  std::int64_t at = 0;
  for (const spec::Parameter& shape : shapes) {
    views.push_back({shape.path, flat.narrow(0, at, shape.elements()).view(shape.shape)});
    at += shape.elements();
  }
  return views;
}

const at::Tensor& Find(const std::vector<NamedTensor>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.name == name; });
  TORCH_INTERNAL_ASSERT(found != tensors.end(), "no statistics ", name);
  return found->tensor;
}

}  // namespace

RunningStatistics::RunningStatistics(const std::vector<spec::Parameter>& shapes, at::Device device)
    : committed_values_(at::zeros({spec::ParameterCount(shapes)}, at::TensorOptions(at::kFloat).device(device))),
      pending_values_(at::zeros_like(committed_values_)),
      committed_(ViewsOf(shapes, committed_values_)),
      pending_(ViewsOf(shapes, pending_values_)) {
  for (const NamedTensor& tensor : committed_) {
    if (tensor.name.ends_with("running_var")) tensor.tensor.fill_(1);
  }
  Begin();
}

const at::Tensor& RunningStatistics::committed(std::string_view name) const { return Find(committed_, name); }

const at::Tensor& RunningStatistics::pending(std::string_view name) const { return Find(pending_, name); }

void RunningStatistics::Begin() {
  if (!committed_.empty()) pending_values_.copy_(committed_values_);
}

void RunningStatistics::Commit(const at::Tensor& applied) {
  // A selection, no arithmetic: what is pending may be Inf or NaN.
  if (!committed_.empty()) committed_values_.copy_(at::where(applied, pending_values_, committed_values_));
}

}  // namespace mantissa::trainer
