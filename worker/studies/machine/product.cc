#include "worker/studies/machine/product.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "proto/spec/precision_table.h"
#include "worker/amp/precision_policy.h"
#include "worker/data/data_size.h"
#include "worker/studies/report/number_text.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec::Mode;

constexpr std::int64_t kCheckedLines = 256;

bool IsLow(Mode mode) { return spec::IsLow(spec::ComputeFormat(mode)); }

// Evenly over [0, size), the first and the last among them.
at::Tensor SpreadOver(std::int64_t size, c10::Device device) {
  const std::int64_t count = std::min(size, kCheckedLines);
  return at::linspace(0, static_cast<double>(size - 1), count, at::TensorOptions(at::kDouble).device(device))
      .round()
      .to(at::kLong);
}

}  // namespace

v1::MatrixShape ShapeOf(std::int32_t m, std::int32_t n, std::int32_t k) {
  v1::MatrixShape shape;
  shape.set_m(m);
  shape.set_n(n);
  shape.set_k(k);
  return shape;
}

std::optional<std::string> WhyNoProduct(const StudyEnvironment& environment, Mode mode) {
  const auto& has = environment.precisions;
  const bool lacks = !has.empty() && std::find(has.begin(), has.end(), mode) == has.end();
  if (!lacks && (mode != v1::PrecisionSpec::TF32 || !environment.device.is_cpu())) return std::nullopt;
  return absl::StrCat("UNSUPPORTED: ", environment.device_name, " has no arithmetic for ",
                      v1::PrecisionSpec::Mode_Name(mode));
}

void PrepareProducts(const StudyEnvironment& environment, Mode mode) {
  ResetProcess({.threads = environment.threads, .deterministic = false, .tf32 = mode == v1::PrecisionSpec::TF32});
}

Operands MakeOperands(const v1::MatrixShape& shape, Mode mode, v1::LayoutBenchmarkReport::Layout layout,
                      c10::Device device) {
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(device);
  const at::ScalarType type = PrecisionPolicy(mode).compute_type();
  at::manual_seed(0);
  const at::Tensor a = at::randn({shape.m(), shape.k()}, options).to(type);
  const at::Tensor b = at::randn({shape.k(), shape.n()}, options).to(type);
  switch (layout) {
    case v1::LayoutBenchmarkReport::TRANSPOSED:
      return {a, b.t().contiguous().t()};
    case v1::LayoutBenchmarkReport::STRIDED: {
      const at::Tensor every_second = at::zeros({shape.k(), 2 * std::int64_t{shape.n()}}, b.options())
                                          .slice(/*dim=*/1, /*start=*/0, /*end=*/std::nullopt, /*step=*/2);
      every_second.copy_(b);
      return {a, every_second};
    }
    default:
      return {a, b};
  }
}

at::Tensor Multiply(Mode mode, const Operands& operands) {
  if (!operands.a.is_cpu() || !IsLow(mode)) return at::mm(operands.a, operands.b);
  // The op takes the FP32 weight as well, and does not read it where a stored one is given.
  const at::Tensor stored = operands.b.t();
  const at::Tensor weight = at::zeros({1, 1}).expand(stored.sizes());
  return PrecisionPolicy(mode).Linear(operands.a, weight, {}, Activation::kNone, {stored, {}});
}

std::string HowMultiplied(const StudyEnvironment& environment, Mode mode) {
  if (!environment.device.is_cpu() || !IsLow(mode)) return "";
  return "Products in a low precision are by the trainer's own linear op, as a CPU trains: it reads the second operand "
         "as (n, k), and copies every other layout first.";
}

std::optional<std::string> ProductError(Mode mode, const Operands& operands, const at::Tensor& product) {
  const std::int64_t m = operands.a.size(0), k = operands.a.size(1), n = operands.b.size(1);
  if (product.dim() != 2 || product.size(0) != m || product.size(1) != n) {
    return absl::StrFormat("%s has another shape than (%d, %d)", ProductText(m, n, k, mode), m, n);
  }
  const at::Tensor rows = SpreadOver(m, product.device());
  const at::Tensor columns = SpreadOver(n, product.device());
  const at::Tensor a = operands.a.index_select(0, rows).to(at::kDouble);
  const at::Tensor b = operands.b.index_select(1, columns).to(at::kDouble);
  const at::Tensor found = product.index_select(0, rows).index_select(1, columns).to(at::kDouble);
  // A GPU may cut the operands of TF32 instead of rounding them: both are then off by as much as the epsilon.
  const double operands_off = mode == v1::PrecisionSpec::TF32 ? 2 : 1;
  const double epsilon =
      operands_off * spec::FactsOf(spec::ComputeFormat(mode)).epsilon + static_cast<double>(k) * std::ldexp(1.0, -24);
  const at::Tensor allowed = at::mm(a.abs(), b.abs()) * epsilon;
  const double worst = ((found - at::mm(a, b)).abs() / allowed).max().item<double>();
  if (worst <= 1) return std::nullopt;  // not of a NaN
  return absl::StrFormat("an element of %s is off by %.3g times what the precision allows", ProductText(m, n, k, mode),
                         worst);
}

double OperationsOf(std::int64_t m, std::int64_t n, std::int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

std::int64_t BytesOfElement(Mode mode) { return spec::FactsOf(spec::ComputeFormat(mode)).bytes; }

double BytesMoved(std::int64_t m, std::int64_t n, std::int64_t k, Mode mode) {
  const double numbers = static_cast<double>(m) * static_cast<double>(k) +
                         static_cast<double>(k) * static_cast<double>(n) +
                         static_cast<double>(m) * static_cast<double>(n);
  return numbers * static_cast<double>(BytesOfElement(mode));
}

std::string ProductText(std::int64_t m, std::int64_t n, std::int64_t k, Mode mode) {
  return absl::StrFormat("(%d, %d) x (%d, %d) in %s", m, k, k, n, v1::PrecisionSpec::Mode_Name(mode));
}

std::optional<std::string> WhyNoRoom(double bytes, const StudyEnvironment& environment) {
  const std::int64_t free_bytes = FreeMemory(environment.device, environment.memory_limit_bytes);
  if (bytes <= static_cast<double>(free_bytes)) return std::nullopt;
  return absl::StrCat("not run: it takes about ", BytesText(static_cast<std::int64_t>(bytes)), ", and ",
                      BytesText(free_bytes), " are free on ", environment.device_name);
}

double LaunchSeconds(Mode mode, const CallSeconds& calls) {
  constexpr double kLeast = 5e-6;
  const auto call = calls.find(mode);
  return call == calls.end() ? kLeast : std::max(kLeast, 2 * call->second);
}

std::string LaunchNote(double launch_seconds) {
  return absl::StrCat("below ", TimeText(launch_seconds), ": this measures the call or launch, not the product");
}

void AddNote(const std::string& sentence, std::string& note) {
  if (sentence.empty()) return;
  absl::StrAppend(&note, note.empty() ? "" : "; ", sentence);
}

}  // namespace mantissa::trainer
