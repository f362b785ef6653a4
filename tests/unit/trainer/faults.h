// Faults planted in a run: values that are not finite, in one place of one micro-batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "worker/data/dataset.h"
#include "worker/models/forward_context.h"

namespace mantissa::trainer {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Another dataset, and which of its samples were gathered last: a fault that one sample brings is in its micro-batch
// whenever that is run.
class WatchedData final : public Dataset {
 public:
  explicit WatchedData(std::unique_ptr<Dataset> data) : data_(std::move(data)) {}

  std::int64_t size() const override { return data_->size(); }
  const DataShape& shape() const override { return data_->shape(); }
  void Gather(std::span<const std::int64_t> indices, Batch& batch) const override {
    last_.assign(indices.begin(), indices.end());
    data_->Gather(indices, batch);
  }
  void MoveTo(at::Device device) override { data_->MoveTo(device); }

  bool holds(std::int64_t sample) const { return std::find(last_.begin(), last_.end(), sample) != last_.end(); }

 private:
  const std::unique_ptr<Dataset> data_;
  mutable std::vector<std::int64_t> last_;
};

// Changes the output of one module, and the gradient of it, where functions are given; remembers the names of all.
class FaultProbe final : public ActivationProbe {
 public:
  using Change = std::function<at::Tensor(const at::Tensor&)>;

  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    if (std::find(modules_.begin(), modules_.end(), module) == modules_.end()) modules_.push_back(module);
    if (module != at_) return output;
    at::Tensor passed = output_ ? output_(output) : output;
    if (gradient_) {
      passed.register_hook([this, passed = passed.detach()](const at::Tensor& gradient) {
        seen_ = passed;
        return gradient_(gradient);
      });
    }
    return passed;
  }

  void Plant(const std::string& module, Change output, Change gradient) {
    at_ = module;
    output_ = std::move(output);
    gradient_ = std::move(gradient);
  }

  // In forward order, from the passes so far.
  const std::vector<std::string>& modules() const { return modules_; }
  // The output whose gradient is being changed.
  const at::Tensor& seen() const { return seen_; }

 private:
  std::vector<std::string> modules_;
  std::string at_;
  Change output_;
  Change gradient_;
  at::Tensor seen_;
};

// `tensor` with `value` in the place of element `index`, and its history.
inline at::Tensor WithElement(const at::Tensor& tensor, std::int64_t index, double value) {
  at::Tensor mask = at::zeros({tensor.numel()}, at::kBool);
  mask[index] = true;
  return at::where(mask.view(tensor.sizes()), at::full({}, value, tensor.scalar_type()), tensor);
}

}  // namespace mantissa::trainer
