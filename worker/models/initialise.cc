#include "worker/models/initialise.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer {
namespace {

// The last word of the counter, where dropout has the iteration, which never gets this large.
constexpr std::uint32_t kInitialisation = 0xFFFFFFFF;
// Fewer are not worth a thread: about half a millisecond.
constexpr std::int64_t kDrawsOfAThread = 4096;

Philox4 Draw(const InitialKey& key, std::int64_t group) {
  return Philox(
      {{static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), key.parameter, kInitialisation}},
      key.seed);
}

// In [0, 1), 24 bits.
double Unit(std::uint32_t word) { return static_cast<double>(word >> 8) * 0x1p-24; }

using FourValues = std::array<double, 4>;

// values(words): the four elements of a draw. A draw knows its elements by its number, so threads change no bit.
template <class Values>
void Fill(const at::Tensor& parameter, const InitialKey& key, const Values& values) {
  const c10::AutoGradMode off(false);
  const std::int64_t count = parameter.numel();
  at::Tensor host = at::empty(parameter.sizes(), at::kFloat);
  float* const to = host.mutable_data_ptr<float>();
  const auto fill = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t draw = begin; draw < end; ++draw) {
      const FourValues four = values(Draw(key, draw));
      const std::int64_t at = 4 * draw;
      for (std::int64_t i = 0; i < std::min<std::int64_t>(4, count - at); ++i) to[at + i] = static_cast<float>(four[i]);
    }
  };
  at::parallel_for(0, (count + 3) / 4, kDrawsOfAThread, fill);
  parameter.copy_(host);
}

}  // namespace

void FillConstant(const at::Tensor& parameter, double value) {
  const c10::AutoGradMode off(false);
  parameter.fill_(value);
}

void FillUniform(const at::Tensor& parameter, const InitialKey& key, double bound) {
  Fill(parameter, key, [bound](const Philox4& words) {
    FourValues four;
    for (int i = 0; i < 4; ++i) four[i] = (2 * Unit(words.word[i]) - 1) * bound;
    return four;
  });
}

void FillNormal(const at::Tensor& parameter, const InitialKey& key, double deviation) {
  Fill(parameter, key, [deviation](const Philox4& words) {
    // Box and Muller: a pair of uniforms makes a pair of normals. 1 - u is never 0.
    FourValues four;
    for (int i = 0; i < 4; i += 2) {
      const double radius = std::sqrt(-2 * std::log(1 - Unit(words.word[i])));
      const double angle = 6.283185307179586 * Unit(words.word[i + 1]);
      four[i] = deviation * radius * std::cos(angle);
      four[i + 1] = deviation * radius * std::sin(angle);
    }
    return four;
  });
}

}  // namespace mantissa::trainer
