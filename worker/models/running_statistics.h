// State that is not trained but follows the batches: what batch norm evaluates with.
#pragma once

#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "proto/spec/model_shape.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Twice: committed, which is the run's state, and pending, which a window's forward passes write. An applied iteration
// makes the pending ones the committed; a skipped one, or a window that was given up, leaves no trace. FP32, flat; the
// tensors never move. Not thread-safe.
class RunningStatistics {
 public:
  RunningStatistics() = default;
  // Named tensors of these shapes: zeros, and ones where the path ends in `running_var`.
  RunningStatistics(const std::vector<spec::Parameter>& shapes, at::Device device);

  const std::vector<NamedTensor>& committed() const { return committed_; }
  // By name; one that is not there is a broken invariant.
  const at::Tensor& committed(std::string_view name) const;
  const at::Tensor& pending(std::string_view name) const;

  // Before a window's first forward pass: pending begins where committed is.
  void Begin();
  // After the verdict. `applied`: bool, 0-dim, on the device; it is not read by the host.
  void Commit(const at::Tensor& applied);

 private:
  at::Tensor committed_values_;
  at::Tensor pending_values_;
  std::vector<NamedTensor> committed_;  // views
  std::vector<NamedTensor> pending_;
};

}  // namespace mantissa::trainer
