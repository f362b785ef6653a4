#include "worker/kernels/cross_entropy/cross_entropy.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "worker/kernels/check.h"
#include "worker/kernels/cross_entropy/cross_entropy_check.h"
#include "worker/kernels/cross_entropy/cross_entropy_cpu.h"

namespace mantissa::trainer::kernels {
namespace {

using torch::autograd::variable_list;

// -> (sum of losses, log of the sum of exponentials per row), FP32.
std::tuple<at::Tensor, at::Tensor> ForwardCpu(const at::Tensor& logits, const at::Tensor& targets) {
  CheckLogits(logits, targets);
  const at::Tensor sum = at::empty({}, logits.options().dtype(at::kFloat));
  const at::Tensor normalizers = at::empty({logits.size(0)}, logits.options().dtype(at::kFloat));
  cpu::CrossEntropyForward(logits.contiguous(), targets.contiguous(), sum, normalizers);
  return {sum, normalizers};
}

at::Tensor BackwardCpu(const at::Tensor& gradient, const at::Tensor& logits, const at::Tensor& targets,
                       const at::Tensor& normalizers) {
  CheckLogits(logits, targets);
  const at::Tensor result = at::empty_like(logits, at::MemoryFormat::Contiguous);
  cpu::CrossEntropyBackward(gradient, logits.contiguous(), targets.contiguous(), normalizers, result);
  return result;
}

std::tuple<at::Tensor, at::Tensor> WithGradientCpu(const at::Tensor& logits, const at::Tensor& targets,
                                                   const at::Tensor& incoming, bool overwrite) {
  CheckIncoming(incoming);
  const auto [sum, normalizers] = ForwardCpu(logits, targets);
  const at::Tensor read = logits.contiguous();
  const at::Tensor gradient = overwrite ? read : at::empty_like(read);
  cpu::CrossEntropyBackward(incoming, read, targets.contiguous(), normalizers, gradient);
  return {sum, gradient};
}

std::tuple<at::Tensor, at::Tensor> CallForward(const at::Tensor& logits, const at::Tensor& targets) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mantissa::cross_entropy_forward", "")
                             .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&)>();
  return op.call(logits, targets);
}

at::Tensor CallBackward(const at::Tensor& gradient, const at::Tensor& logits, const at::Tensor& targets,
                        const at::Tensor& normalizers) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mantissa::cross_entropy_backward", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>();
  return op.call(gradient, logits, targets, normalizers);
}

struct CrossEntropyNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override {
    at::AutoDispatchBelowADInplaceOrView below;
    variable_list result(1);
    if (!gradients[0].defined()) return result;
    TORCH_CHECK(logits.defined(), "backward through a loss a second time: its saved tensors are gone");
    result[0] = CallBackward(gradients[0], logits, targets, normalizers);
    return result;
  }
  void release_variables() override {
    logits.reset();
    targets.reset();
    normalizers.reset();
  }
  std::string name() const override { return "MantissaCrossEntropy"; }

  at::Tensor logits;
  at::Tensor targets;
  at::Tensor normalizers;
};

at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& targets) {
  std::tuple<at::Tensor, at::Tensor> forward;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    forward = CallForward(logits, targets);
  }
  at::Tensor& sum = std::get<0>(forward);
  if (!at::GradMode::is_enabled() || !logits.requires_grad()) return sum;
  const std::shared_ptr<CrossEntropyNode> node(new CrossEntropyNode(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(logits));
  node->logits = logits;
  node->targets = targets;
  node->normalizers = std::move(std::get<1>(forward));
  torch::autograd::set_history(sum, node);
  return sum;
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("cross_entropy(Tensor logits, Tensor targets) -> Tensor");
  library.def("cross_entropy_forward(Tensor logits, Tensor targets) -> (Tensor, Tensor)");
  library.def("cross_entropy_backward(Tensor gradient, Tensor logits, Tensor targets, Tensor normalizers) -> Tensor");
  // -> (sum, the gradient of incoming x sum), both at once where the incoming gradient is known before the loss is:
  // with one pass over the logits less, and in their place where `overwrite` says that nobody else wants them. No part
  // of the autograd graph.
  library.def(
      "cross_entropy_and_gradient(Tensor logits, Tensor targets, Tensor incoming, bool overwrite) -> (Tensor, "
      "Tensor)");
}
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) { library.impl("cross_entropy", CrossEntropy); }
TORCH_LIBRARY_IMPL(mantissa, CPU, library) {
  library.impl("cross_entropy_forward", ForwardCpu);
  library.impl("cross_entropy_backward", BackwardCpu);
  library.impl("cross_entropy_and_gradient", WithGradientCpu);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
