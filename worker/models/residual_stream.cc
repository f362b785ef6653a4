#include "worker/models/residual_stream.h"

#include <utility>

#include "worker/amp/residual_norm.h"

namespace mantissa::trainer {

at::Tensor ResidualStream::Norm(const LinearParameters& norm, const LinearParameters& reader) {
  Normed normed = AddPart(norm, &reader, /*wants_norm=*/false);
  x_ = std::move(normed.sum);
  return normed.read;
}

at::Tensor ResidualStream::BecomeNorm(const LinearParameters& norm, const LinearParameters* reader) {
  Normed normed = AddPart(norm, reader, /*wants_norm=*/true);
  x_ = std::move(normed.norm);
  return normed.read;
}

ResidualStream::Normed ResidualStream::AddPart(const LinearParameters& norm, const LinearParameters* reader,
                                               bool wants_norm) {
  // A probe sees the norm in FP32, as it is in the table. The reader then casts it itself: to the same bits.
  const at::ScalarType type = reader == nullptr ? at::kFloat : context_.policy.Of(reader->path).compute_type();
  const bool rounds = type != at::kFloat && context_.probe == nullptr && x_.is_cuda();
  const at::Tensor part = std::exchange(part_, at::Tensor());
  const double probability = part.defined() && context_.training ? dropout_ : 0;
  const ResidualBranch branch = {part, probability, context_.key, part.defined() ? site_++ : 0};
  ResidualNormed normed = AddAndNorm(x_, branch, {norm.weight, norm.bias}, wants_norm || !rounds,
                                     rounds ? std::optional(type) : std::nullopt);
  if (normed.norm.defined()) normed.norm = context_.Pass(norm.path, normed.norm);
  return {normed.sum, normed.norm, rounds ? normed.low : normed.norm};
}

}  // namespace mantissa::trainer
