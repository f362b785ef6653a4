#include "worker/data/synthetic_data.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "worker/data/data_size.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/random_draw.h"
#include "worker/data/token_dataset.h"

namespace mantissa::trainer {
namespace {

// Tasks are the same whatever the data's seed.
constexpr std::uint64_t kTaskKey = 0x6d616e7469737361;  // "mantissa"

enum Stream : std::uint64_t { kFeatures = 1, kTeacher = 2, kFirstToken = 3, kDraws = 4, kSuccessors = 5 };

constexpr std::int64_t kDrawGrain = 1 << 12;  // draws of four, some 0.3 ms

// Each draw stands by itself, so that the threads that share them change no bit.
void FillNormal(std::uint64_t key, std::uint64_t stream, float* out, std::int64_t count) {
  at::parallel_for(0, (count + 3) / 4, kDrawGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto normal = DrawNormal(key, {static_cast<std::uint64_t>(i), stream});
      std::copy_n(normal.begin(), std::min<std::int64_t>(4, count - 4 * i), out + 4 * i);
    }
  });
}

// In [0, limit), by the upper half of a 64-bit product: even to 2^-32.
std::int64_t Below(std::uint32_t bits, std::int64_t limit) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) * static_cast<std::uint64_t>(limit) >> 32);
}

std::int64_t Successor(std::int64_t token, std::uint32_t draw, std::int64_t vocabulary) {
  const int which = std::min(std::countl_zero(draw), 3);
  const auto successors = DrawBits(kTaskKey, {static_cast<std::uint64_t>(token), kSuccessors});
  return Below(successors[static_cast<std::size_t>(which)], vocabulary);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> MakeSyntheticFeatures(const v1::Synthetic& spec, std::string_view field,
                                                               std::int64_t max_bytes) {
  const std::int64_t samples = spec.samples();
  const std::int64_t classes = spec.classes();
  std::vector<std::int64_t> sizes = {samples};
  sizes.insert(sizes.end(), spec.shape().begin(), spec.shape().end());
  std::int64_t width = 1;
  for (const std::int64_t size : spec.shape()) width = SaturatingProduct(width, size);
  // The teacher's outputs for all samples are made in pieces, so they do not count.
  const std::int64_t needed =
      SaturatingSum(SaturatingProduct(SaturatingSum(samples, classes), SaturatingProduct(width, sizeof(float))),
                    SaturatingProduct(samples, sizeof(std::int64_t)));
  const std::string path(field);
  if (absl::Status fits = CheckDataSize(needed, max_bytes, absl::StrCat(path, ".samples"), "give fewer samples");
      !fits.ok()) {
    return fits;
  }
  at::Tensor features = at::empty(sizes, at::kFloat);
  FillNormal(spec.seed(), kFeatures, features.mutable_data_ptr<float>(), samples * width);
  at::Tensor teacher = at::empty({width, classes}, at::kFloat);
  FillNormal(kTaskKey, kTeacher, teacher.mutable_data_ptr<float>(), width * classes);
  at::Tensor labels = at::empty({samples}, at::kLong);
  const at::Tensor flat = features.view({samples, width});
  const std::int64_t piece = std::max<std::int64_t>(1, (std::int64_t{1} << 22) / classes);
  for (std::int64_t begin = 0; begin < samples; begin += piece) {
    const std::int64_t end = std::min(begin + piece, samples);
    labels.slice(0, begin, end).copy_(flat.slice(0, begin, end).matmul(teacher).argmax(1));
  }
  return std::make_unique<FeatureDataset>(features, labels, classes);
}

absl::StatusOr<std::unique_ptr<Dataset>> MakeSyntheticTokens(const v1::Synthetic& spec, std::int64_t context,
                                                             std::string_view field, std::int64_t max_bytes) {
  const std::int64_t samples = spec.samples();
  const std::int64_t length = context + 1;
  const std::int64_t needed = SaturatingProduct(SaturatingProduct(samples, length), sizeof(std::int32_t));
  const std::string path(field);
  if (absl::Status fits = CheckDataSize(needed, max_bytes, absl::StrCat(path, ".samples"), "give fewer samples");
      !fits.ok()) {
    return fits;
  }
  at::Tensor tokens = at::empty({samples * length}, at::kInt);
  std::int32_t* out = tokens.mutable_data_ptr<std::int32_t>();
  for (std::int64_t s = 0; s < samples; ++s) {
    const auto sample = static_cast<std::uint64_t>(s);
    std::int64_t token = Below(DrawBits(spec.seed(), {sample, kFirstToken})[0], spec.classes());
    for (std::int64_t t = 0; t < length; ++t) {
      *out++ = static_cast<std::int32_t>(token);
      const auto at = static_cast<std::uint64_t>(s * length + t);
      token = Successor(token, DrawBits(spec.seed(), {at, kDraws})[0], spec.classes());
    }
  }
  return std::make_unique<TokenDataset>(tokens, spec.classes(), context, length);
}

}  // namespace mantissa::trainer
