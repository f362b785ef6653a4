#include "worker/models/initialise.h"

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer {
namespace {

// The last word of the counter, where dropout has the iteration, which never gets this large.
constexpr std::uint32_t kInitialisation = 0xFFFFFFFF;

Philox4 Draw(const InitialKey& key, std::int64_t group) {
  return Philox(
      {{static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), key.parameter, kInitialisation}},
      key.seed);
}

// In [0, 1), 24 bits.
double Unit(std::uint32_t word) { return static_cast<double>(word >> 8) * 0x1p-24; }

// value(words, i) for i of 4, four elements a draw.
template <class Value>
void Fill(const at::Tensor& parameter, const InitialKey& key, const Value& value) {
  const c10::AutoGradMode off(false);
  const std::int64_t count = parameter.numel();
  at::Tensor host = at::empty(parameter.sizes(), at::kFloat);
  float* const to = host.mutable_data_ptr<float>();
  for (std::int64_t at = 0; at < count; at += 4) {
    const Philox4 words = Draw(key, at / 4);
    for (int i = 0; i < 4 && at + i < count; ++i) to[at + i] = static_cast<float>(value(words, i));
  }
  parameter.copy_(host);
}

}  // namespace

void FillConstant(const at::Tensor& parameter, double value) {
  const c10::AutoGradMode off(false);
  parameter.fill_(value);
}

void FillUniform(const at::Tensor& parameter, const InitialKey& key, double bound) {
  Fill(parameter, key, [bound](const Philox4& words, int i) { return (2 * Unit(words.word[i]) - 1) * bound; });
}

void FillNormal(const at::Tensor& parameter, const InitialKey& key, double deviation) {
  Fill(parameter, key, [deviation](const Philox4& words, int i) {
    // Box and Muller: a pair of uniforms makes a pair of normals. 1 - u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - Unit(words.word[i / 2 * 2])));
    const double angle = 6.283185307179586 * Unit(words.word[i / 2 * 2 + 1]);
    return deviation * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
  });
}

}  // namespace mantissa::trainer
