// Dropout whose mask is a pure function of (seed, iteration, micro-batch, site, element): the same on CPU and CUDA, in
// a resumed run, and in backward, which draws it again instead of keeping it. The iteration is a number, or, where only
// the device knows it, what a tensor holds while the op runs.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "worker/kernels/cpu/convert.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/dropout/dropout_check.h"
#include "worker/kernels/dropout/dropout_draw.h"
#include "worker/kernels/dropout/dropout_key.h"

namespace mantissa::trainer::kernels {
namespace {

using torch::autograd::variable_list;

at::Tensor Drop(const at::Tensor& x_any, const DropoutDraw& draw) {
  const at::Tensor x = x_any.contiguous();
  const at::Tensor result = at::empty_like(x);
  const at::ScalarType type = x.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kHalf || type == at::kBFloat16, "dropout of ", type);
  const std::int64_t width = type == at::kFloat ? 4 : 2;
  const char* const from = static_cast<const char*>(x.const_data_ptr());
  char* const to = static_cast<char*>(result.mutable_data_ptr());
  const std::int64_t count = x.numel();
  // In units of four elements, which share one draw.
  const auto apply = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t at = group * 4;
      const std::int64_t size = count - at < 4 ? count - at : 4;
      float values[4] = {};
      cpu::Widen(type, from + at * width, size, values);
      const Philox4 words = draw.Words(group);
      for (int i = 0; i < 4; ++i) values[i] = draw.Keeps(words.word[i]) ? values[i] * draw.scale : 0.0f;
      cpu::Narrow(type, values, size, to + at * width);
    }
  };
  cpu::ForRange((count + 3) / 4, apply);
  return result;
}

at::Tensor MaskCpu(const at::Tensor& x, double probability, std::int64_t seed, std::int64_t iteration,
                   std::int64_t micro_batch, std::int64_t site) {
  return Drop(x, MakeDropoutDraw(probability, seed, iteration, micro_batch, site));
}

at::Tensor MaskOfWindowCpu(const at::Tensor& x, double probability, std::int64_t seed, const at::Tensor& window,
                           std::int64_t micro_batch, std::int64_t site) {
  return Drop(x, MakeDropoutDraw(probability, seed, *DropoutWindow(window), micro_batch, site));
}

at::Tensor CallMask(const at::Tensor& x, const DropoutKey& key) {
  c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
  if (key.window.defined()) {
    static const auto of_window = dispatcher.findSchemaOrThrow("mantissa::dropout_mask_of_window", "")
                                      .typed<at::Tensor(const at::Tensor&, double, std::int64_t, const at::Tensor&,
                                                        std::int64_t, std::int64_t)>();
    return of_window.call(x, key.probability, key.seed, key.window, key.micro_batch, key.site);
  }
  static const auto op =
      dispatcher.findSchemaOrThrow("mantissa::dropout_mask", "")
          .typed<at::Tensor(const at::Tensor&, double, std::int64_t, std::int64_t, std::int64_t, std::int64_t)>();
  return op.call(x, key.probability, key.seed, key.iteration, key.micro_batch, key.site);
}

struct DropoutNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override {
    at::AutoDispatchBelowADInplaceOrView below;
    variable_list result(1);
    if (!gradients[0].defined()) return result;
    result[0] = CallMask(gradients[0], key);
    return result;
  }
  std::string name() const override { return "MantissaDropout"; }

  DropoutKey key;
};

at::Tensor DropoutBy(const at::Tensor& x, const DropoutKey& key) {
  at::Tensor result;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    result = CallMask(x, key);
  }
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return result;
  const std::shared_ptr<DropoutNode> node(new DropoutNode(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  node->key = key;
  torch::autograd::set_history(result, node);
  return result;
}

at::Tensor Dropout(const at::Tensor& x, double probability, std::int64_t seed, std::int64_t iteration,
                   std::int64_t micro_batch, std::int64_t site) {
  return DropoutBy(x, {probability, seed, iteration, at::Tensor(), micro_batch, site});
}

at::Tensor DropoutOfWindow(const at::Tensor& x, double probability, std::int64_t seed, const at::Tensor& window,
                           std::int64_t micro_batch, std::int64_t site) {
  return DropoutBy(x, {probability, seed, 0, window, micro_batch, site});
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("dropout(Tensor x, float probability, int seed, int iteration, int micro_batch, int site) -> Tensor");
  // x with the dropped elements zero and the kept ones scaled; its own backward.
  library.def(
      "dropout_mask(Tensor x, float probability, int seed, int iteration, int micro_batch, int site) -> Tensor");
  // The same with an iteration that `window`, int64, holds, in backward too.
  library.def(
      "dropout_of_window(Tensor x, float probability, int seed, Tensor window, int micro_batch, int site) -> Tensor");
  library.def(
      "dropout_mask_of_window(Tensor x, float probability, int seed, Tensor window, int micro_batch, int site) -> "
      "Tensor");
}
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) {
  library.impl("dropout", Dropout);
  library.impl("dropout_of_window", DropoutOfWindow);
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) {
  library.impl("dropout_mask", MaskCpu);
  library.impl("dropout_mask_of_window", MaskOfWindowCpu);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
