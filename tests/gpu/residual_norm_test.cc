// residual_norm's kernels against LibTorch's ops on the CPU.
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

struct Case {
  at::ScalarType type = at::kBFloat16;  // of branch and low
  bool has_branch = true;
  bool wants_norm = false;  // else only sum and low: a pre-norm block
  double probability = 0;
};

struct Values {
  at::Tensor x, branch, weight, bias;
  at::Tensor of_sum, of_norm, of_low;  // incoming gradients
};

struct Results {
  at::Tensor sum, norm, low;
  at::Tensor x, branch, weight, bias;  // gradients
};

Values Random(std::int64_t rows, std::int64_t width, at::ScalarType type) {
  return {at::randn({rows, width}) * 2 + 0.5,
          at::randn({rows, width}).to(type),
          at::randn({width}),
          at::randn({width}),
          at::randn({rows, width}),
          at::randn({rows, width}),
          at::randn({rows, width}).to(type)};
}

at::Tensor Leaf(const at::Tensor& values, at::Device device) { return values.to(device).clone().requires_grad_(true); }

// What the op means, by LibTorch's.
std::tuple<at::Tensor, at::Tensor, at::Tensor> ByOperations(const ResidualNormCall& call) {
  const at::Tensor sum = call.x + call.branch;
  const at::Tensor norm = at::layer_norm(sum, {sum.size(-1)}, call.weight, call.bias);
  return {sum, norm, norm.to(*call.low)};
}

Results On(at::Device device, const Case& the, const Values& values, bool by_operations = false) {
  ResidualNormCall call = {Leaf(values.x, device), the.has_branch ? Leaf(values.branch, device) : at::Tensor(),
                           Leaf(values.weight, device), Leaf(values.bias, device), the.probability};
  call.norm = the.wants_norm;
  call.low = the.type;
  // Gradients are added to.
  call.weight.mutable_grad() = at::ones_like(call.weight.detach());
  call.bias.mutable_grad() = at::ones_like(call.bias.detach());
  const auto [sum, norm, low] = by_operations ? ByOperations(call) : OpResidualNorm(call);
  std::vector<at::Tensor> outputs = {low}, incoming = {values.of_low.to(device)};
  if (the.wants_norm) {
    outputs.push_back(norm);
    incoming.push_back(values.of_norm.to(device));
  } else if (the.has_branch) {
    outputs.push_back(sum);
    incoming.push_back(values.of_sum.to(device));
  }
  torch::autograd::backward(outputs, incoming);
  const auto host = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.detach().cpu() : tensor; };
  return {host(sum),
          host(norm),
          host(low),
          host(call.x.grad()),
          host(the.has_branch ? call.branch.grad() : at::Tensor()),
          host(call.weight.grad()),
          host(call.bias.grad())};
}

// Within `roundings` units of the type's last place; beside them what FP32 sums over `terms` numbers may differ by.
void ExpectNear(const at::Tensor& got, const at::Tensor& want, double terms, const char* what, double roundings = 1) {
  ASSERT_EQ(got.defined(), want.defined()) << what;
  if (!got.defined()) return;
  ASSERT_EQ(got.scalar_type(), want.scalar_type()) << what;
  const double unit = want.scalar_type() == at::kFloat ? 0 : want.scalar_type() == at::kHalf ? 0x1p-10 : 0x1p-7;
  const at::Tensor a = got.to(at::kDouble), b = want.to(at::kDouble);
  const double scale = b.numel() > 0 ? b.abs().max().item<double>() : 0;
  const at::Tensor allowed = b.abs() * (roundings * unit) + scale * 4e-7 * std::sqrt(terms) + 1e-7;
  EXPECT_TRUE((a - b).abs().le(allowed).all().item<bool>())
      << what << " " << got.sizes() << " worst " << ((a - b).abs() / allowed).max().item<double>();
}

void ExpectTwins(const Case& the, const Values& values) {
  const Results cpu = On(at::kCPU, the, values);
  const Results gpu = On(kGpu, the, values);
  const auto width = static_cast<double>(values.x.size(-1));
  const auto rows = static_cast<double>(values.x.size(0));
  ExpectNear(gpu.sum, cpu.sum, 1, "sum");
  ExpectNear(gpu.norm, cpu.norm, width, "norm");
  ExpectNear(gpu.low, cpu.low, width, "low");
  ExpectNear(gpu.x, cpu.x, width, "gradient of x");
  // Rounded by the cast, and once more by the dropout.
  ExpectNear(gpu.branch, cpu.branch, width, "gradient of the branch", the.probability > 0 ? 2 : 1);
  ExpectNear(gpu.weight, cpu.weight, rows + width, "gradient of the weight");
  ExpectNear(gpu.bias, cpu.bias, rows, "gradient of the bias");
}

class GpuResidualNormTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  GpuResidualNormTest() { at::manual_seed(21); }
};

// Around the widths of a thread's four, a warp's turns, a block's, and what falls to LibTorch's ops.
TEST_P(GpuResidualNormTest, AgreesWithTheCpuForEveryWidth) {
  // Not 2 or 3: of so few numbers little but the signs is left, and the gradient of their sum is what rounding has
  // left.
  for (const std::int64_t width :
       {4, 7, 8, 100, 128, 132, 512, 516, 768, 772, 1000, 1024, 1028, 1027, 2048, 2052, 4096, 4100}) {
    for (const bool wants_norm : {false, true}) {
      ExpectTwins({GetParam(), true, wants_norm}, Random(13, width, GetParam()));
    }
  }
}

TEST_P(GpuResidualNormTest, AgreesWithTheCpuForManyRowsAndForNone) {
  for (const std::int64_t rows : {0, 1, 1583, 1584, 1585, 5001}) {
    ExpectTwins({GetParam(), true, false}, Random(rows, 96, GetParam()));
  }
}

TEST_P(GpuResidualNormTest, AgreesWithTheCpuWithoutABranch) {
  for (const std::int64_t width : {96, 97}) ExpectTwins({GetParam(), false, false}, Random(11, width, GetParam()));
}

TEST_P(GpuResidualNormTest, DropsWhatTheCpuDrops) {
  for (const std::int64_t width : {96, 97, 2048}) {
    ExpectTwins({GetParam(), true, true, 0.4}, Random(9, width, GetParam()));
  }
}

TEST_P(GpuResidualNormTest, ReadsAnyLayoutAndAnyBegin) {
  Values values = Random(10, 64, GetParam());
  const Case the = {GetParam(), true, false};
  const Results want = On(kGpu, the, values);
  ResidualNormCall call = {values.x.to(kGpu), values.branch.to(kGpu), values.weight.to(kGpu), values.bias.to(kGpu)};
  call.low = GetParam();
  const auto shifted = [](const at::Tensor& tensor) {
    const at::Tensor room = at::empty({tensor.numel() + 1}, tensor.options());
    return room.narrow(0, 1, tensor.numel()).view(tensor.sizes()).copy_(tensor);
  };
  for (const at::Tensor& x : {shifted(call.x), call.x.t().contiguous().t()}) {
    call.x = x;
    call.branch = shifted(values.branch.to(kGpu));
    call.weight = shifted(values.weight.to(kGpu));
    const auto [sum, norm, low] = OpResidualNorm(call);
    EXPECT_TRUE(at::equal(sum.cpu(), want.sum));
    ExpectNear(low.cpu(), want.low, 64, "low");
  }
}

// As a sum over a sequence sends its gradient back.
TEST_P(GpuResidualNormTest, OneRowOfGradientMayStandForMany) {
  for (const std::int64_t width : {96, 97, 768, 1024, 2048}) {
    Values values = Random(6 * 7, width, GetParam());
    values.x = values.x.view({6, 7, width});
    values.branch = values.branch.view({6, 7, width});
    const at::Tensor once = at::randn({6, 1, width}).to(kGpu), repeated = once.expand({6, 7, width});
    const auto gradients = [&](const at::Tensor& of_norm) {
      ResidualNormCall call = {Leaf(values.x, kGpu), Leaf(values.branch, kGpu), Leaf(values.weight, kGpu),
                               Leaf(values.bias, kGpu)};
      torch::autograd::backward({std::get<1>(OpResidualNorm(call))}, {of_norm});
      return std::vector<at::Tensor>{call.x.grad(), call.branch.grad(), call.weight.grad(), call.bias.grad()};
    };
    const std::vector<at::Tensor> got = gradients(repeated), want = gradients(repeated.contiguous());
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(at::equal(got[i], want[i])) << i << " of " << width;
  }
}

// What skips an iteration, and what it is put down to. Not as on the CPU, whose formula for the gradient of x makes NaN
// of an Inf in the whole row.
TEST_P(GpuResidualNormTest, NanAndInfSpreadAsByLibtorchsOpsOnTheGpu) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const std::int64_t width : {96, 97}) {
    for (const double bad : {inf, -inf, std::numeric_limits<double>::quiet_NaN()}) {
      for (const int where : {0, 1, 2, 3}) {
        Values values = Random(6, width, GetParam());
        (where == 0 ? values.x : where == 1 ? values.branch : where == 2 ? values.of_low : values.of_sum)[2][5] = bad;
        const Case the = {GetParam(), true, false};
        const Results ops = On(kGpu, the, values, /*by_operations=*/true), gpu = On(kGpu, the, values);
        const auto same = [&](const at::Tensor& a, const at::Tensor& b, const char* what) {
          EXPECT_TRUE(at::equal(a.isfinite(), b.isfinite())) << what << " " << bad << " in " << where;
          EXPECT_TRUE(at::equal(a.isnan(), b.isnan())) << what << " " << bad << " in " << where;
        };
        same(gpu.sum, ops.sum, "sum");
        same(gpu.low, ops.low, "low");
        same(gpu.x, ops.x, "gradient of x");
        same(gpu.weight, ops.weight, "gradient of the weight");
        same(gpu.bias, ops.bias, "gradient of the bias");
      }
    }
  }
}

TEST_P(GpuResidualNormTest, TheSameBitsEveryTime) {
  const Values values = Random(3000, 768, GetParam());
  const Case the = {GetParam(), true, true, 0.1};
  const Results first = On(kGpu, the, values);
  for (int i = 0; i < 5; ++i) {
    const Results again = On(kGpu, the, values);
    EXPECT_TRUE(at::equal(again.low, first.low) && at::equal(again.x, first.x));
    EXPECT_TRUE(at::equal(again.weight, first.weight) && at::equal(again.bias, first.bias));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GpuResidualNormTest, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
