#include "worker/trainer/run_state.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace mantissa::trainer {
namespace {

absl::Status Mismatch(const std::string& name, const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat("tensor ", name, " of the checkpoint ", what, "; it was made by another model or optimizer"));
}

const at::Tensor* Find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &found->tensor;
}

absl::Status CheckSame(const std::vector<NamedTensor>& live, const std::vector<NamedTensor>& saved) {
  for (const NamedTensor& tensor : live) {
    const at::Tensor* match = Find(saved, tensor.name);
    if (match == nullptr) return Mismatch(tensor.name, "is missing");
    if (match->sizes() != tensor.tensor.sizes()) return Mismatch(tensor.name, "has another shape");
    if (match->scalar_type() != tensor.tensor.scalar_type()) return Mismatch(tensor.name, "has another type");
  }
  for (const NamedTensor& tensor : saved) {
    if (Find(live, tensor.name) == nullptr) return Mismatch(tensor.name, "is not known");
  }
  return absl::OkStatus();
}

void CopyInto(const std::vector<NamedTensor>& live, const std::vector<NamedTensor>& saved) {
  for (const NamedTensor& tensor : live) tensor.tensor.detach().copy_(*Find(saved, tensor.name));
}

std::vector<NamedTensor> CopiesOf(const std::vector<NamedTensor>& live) {
  std::vector<NamedTensor> copies;
  for (const NamedTensor& tensor : live) {
    copies.push_back({tensor.name, tensor.tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true)});
  }
  return copies;
}

bool AllFinite(const at::Tensor& tensor) {
  return !tensor.is_floating_point() || at::isfinite(tensor.detach()).all().item<bool>();
}

}  // namespace

RunState::RunState(std::unique_ptr<Model> model, const RunStateOptions& options, at::Device device)
    : device_(device),
      model_(std::move(model)),
      optimizer_(options.optimizer, options.schedule, options.horizon, model_->parameters(), options.groups),
      iteration_(options.scaler, model_->parameters().chunks(),
                 static_cast<std::int64_t>(model_->parameters().parameters().size()), device),
      lineage_(options.lineage) {
  if (options.stored_weights) model_->parameters().StoreWeights(*options.stored_weights);
}

StepState RunState::step_state() const {
  const at::Tensor& state = iteration_.state();
  return device_.is_cpu() ? *static_cast<const StepState*>(state.const_data_ptr()) : iteration_.ReadState();
}

RunSnapshot RunState::View() const {
  RunSnapshot view;
  for (const Parameter& parameter : model_->parameters().parameters()) {
    view.model.push_back({parameter.shape.path, parameter.value});
  }
  for (const NamedTensor& buffer : model_->buffers()) view.model.push_back(buffer);
  view.optimizer = optimizer_.StateTensors();
  view.step = step_state();
  view.lineage = lineage_;
  return view;
}

RunSnapshot RunState::Snapshot() const {
  RunSnapshot view = View();
  return {CopiesOf(view.model), CopiesOf(view.optimizer), view.step, view.lineage};
}

absl::Status RunState::Restore(const RunSnapshot& snapshot) {
  const RunSnapshot live = View();
  if (absl::Status same = CheckSame(live.model, snapshot.model); !same.ok()) return same;
  if (absl::Status same = CheckSame(live.optimizer, snapshot.optimizer); !same.ok()) return same;
  CopyInto(live.model, snapshot.model);
  model_->parameters().CastWeights();
  CopyInto(live.optimizer, snapshot.optimizer);
  iteration_.WriteState(snapshot.step);
  lineage_ = snapshot.lineage;
  return absl::OkStatus();
}

bool RunState::IsFinite() const {
  if (!AllFinite(model_->parameters().values())) return false;
  const auto finite = [](const NamedTensor& tensor) { return AllFinite(tensor.tensor); };
  return std::all_of(model_->buffers().begin(), model_->buffers().end(), finite) &&
         std::all_of(optimizer_.flat_state().begin(), optimizer_.flat_state().end(), finite);
}

}  // namespace mantissa::trainer
