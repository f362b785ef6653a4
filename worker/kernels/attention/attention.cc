// softmax(q k^T / sqrt(d)) v of queries, keys and values that lie side by side: (B, T, 3 d) -> (B, T, d), whatever
// kernel LibTorch chooses.
//
// Where that is cuDNN's, one autograd node of our own: the three gradients are put side by side in one pass. ATen's
// nodes for a view that was permuted and taken apart stack them first and then copy them into place, with strides
// (6.2 ms of the 79.7 of an iteration of GPT-2, 32 x 1024).
#include <ATen/SDPBackend.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "worker/amp/op.h"
#include "worker/kernels/column_sums.h"

namespace mantissa::trainer::kernels {
namespace {

using torch::autograd::variable_list;

// Views of (B, heads, T, d / heads) each.
std::vector<at::Tensor> Parts(const at::Tensor& qkv, std::int64_t heads) {
  const std::int64_t width = qkv.size(2) / 3;
  return qkv.view({qkv.size(0), qkv.size(1), 3, heads, width / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
}

// (B, heads, T, d / heads) -> (B, T, d), which is how cuDNN's results lie.
at::Tensor SideBySide(const at::Tensor& part) {
  return part.transpose(1, 2).reshape({part.size(0), part.size(2), part.size(1) * part.size(3)});
}

bool IsForCudnn(const std::vector<at::Tensor>& parts, bool causal) {
  if (!parts[0].is_cuda()) return false;
  const std::int64_t choice = at::_fused_sdp_choice(parts[0], parts[1], parts[2], std::nullopt, 0.0, causal);
  return choice == static_cast<std::int64_t>(at::SDPBackend::cudnn_attention);
}

// (B, T, d) three times -> (B, T, 3 d), with the sums over rows that a bias has for its gradient.
at::Tensor GradientSideBySide(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  const std::int64_t width = query.size(2);
  if (width % 8 != 0 || query.scalar_type() == at::kFloat) return at::cat({query, key, value}, 2);
  static const auto op =
      FindOp<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
          "mantissa::side_by_side");
  const auto matrix = [&](const at::Tensor& part) { return part.reshape({-1, width}); };
  const auto [rows, sums] = op.call(matrix(query), matrix(key), matrix(value));
  const at::Tensor result = rows.view({query.size(0), query.size(1), 3 * width});
  LeaveColumnSums(result, sums);
  return result;
}

struct AttentionNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override {
    at::AutoDispatchBelowADInplaceOrView below;
    variable_list result(1);
    if (!gradients[0].defined()) return result;
    TORCH_CHECK(qkv.defined(), "backward through attention a second time: its saved tensors are gone");
    const std::vector<at::Tensor> parts = Parts(qkv, heads);
    const at::Tensor gradient =
        gradients[0].to(qkv.scalar_type()).reshape({qkv.size(0), qkv.size(1), heads, parts[0].size(3)}).transpose(1, 2);
    const auto [query, key, value] = at::_scaled_dot_product_cudnn_attention_backward(
        gradient, parts[0], parts[1], parts[2], mixed, normalizers, seed, offset, at::Tensor(), cumulative_queries,
        cumulative_keys, most_queries, most_keys, 0.0, causal);
    result[0] = GradientSideBySide(SideBySide(query), SideBySide(key), SideBySide(value));
    return result;
  }
  void release_variables() override {
    for (at::Tensor* const saved :
         {&qkv, &mixed, &normalizers, &seed, &offset, &cumulative_queries, &cumulative_keys}) {
      saved->reset();
    }
  }
  std::string name() const override { return "MantissaAttention"; }

  std::int64_t heads = 1;
  bool causal = false;
  at::Tensor qkv;
  at::Tensor mixed;  // (B, heads, T, d / heads)
  at::Tensor normalizers;
  // What cuDNN's forward pass hands to its backward pass, unread here.
  at::Tensor seed, offset, cumulative_queries, cumulative_keys;
  std::int64_t most_queries = 0, most_keys = 0;
};

at::Tensor Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) {
  TORCH_CHECK(qkv.dim() == 3 && heads > 0 && qkv.size(2) % (3 * heads) == 0,
              "qkv must be (B, T, 3 d) with d a multiple of ", heads);
  if (at::GradMode::is_enabled() && qkv.requires_grad()) {
    const std::shared_ptr<AttentionNode> node(new AttentionNode(), torch::autograd::deleteNode);
    at::Tensor result;
    {
      at::AutoDispatchBelowADInplaceOrView below;
      const at::Tensor whole = qkv.contiguous();
      const std::vector<at::Tensor> parts = Parts(whole, heads);
      if (IsForCudnn(parts, causal)) {
        c10::SymInt most_queries, most_keys;
        at::Tensor mask;
        std::tie(node->mixed, node->normalizers, node->cumulative_queries, node->cumulative_keys, most_queries,
                 most_keys, node->seed, node->offset, mask) =
            at::_scaled_dot_product_cudnn_attention(parts[0], parts[1], parts[2], std::nullopt,
                                                    /*compute_log_sumexp=*/true, 0.0, causal);
        node->most_queries = most_queries.expect_int();
        node->most_keys = most_keys.expect_int();
        node->qkv = whole;
        result = SideBySide(node->mixed);
      }
    }
    if (result.defined()) {
      node->heads = heads;
      node->causal = causal;
      node->set_next_edges(torch::autograd::collect_next_edges(qkv));
      torch::autograd::set_history(result, node);
      return result;
    }
  }
  const std::vector<at::Tensor> parts = Parts(qkv, heads);
  return SideBySide(at::scaled_dot_product_attention(parts[0], parts[1], parts[2], std::nullopt, 0.0, causal));
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("attention(Tensor qkv, int heads, bool causal) -> Tensor");
  // Of CUDA's only, and of low types: (rows, width) three times -> (rows, 3 width), and sums of column_sums.h.
  library.def("side_by_side(Tensor first, Tensor second, Tensor third) -> (Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) { library.impl("attention", Attention); }

}  // namespace
}  // namespace mantissa::trainer::kernels
