// Writing the low-precision copies of FP32 values on the CPU, each rounded once to nearest even: of cast_weights, and
// of the optimizers, which have the values at hand.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/convert.h"

namespace mantissa::trainer::kernels {

// What an optimizer is given to write beside the parameters: both or neither. True: there are copies.
inline bool CheckLowWeights(const std::optional<at::Tensor>& places, const std::optional<at::Tensor>& weights) {
  const bool any = weights.has_value() && weights->defined();
  TORCH_CHECK(any == (places.has_value() && places->defined()), "places and weights come together");
  if (any) CheckLowFlat(*weights, "weights");
  return any;
}

// The copies of a model, or none.
class LowWeightWriter {
 public:
  LowWeightWriter(const std::optional<at::Tensor>& places, const std::optional<at::Tensor>& weights) {
    if (!CheckLowWeights(places, weights)) return;
    places_ = Struct<StoredWeight>(*places, "places");
    type_ = weights->scalar_type();
    weights_ = static_cast<std::uint16_t*>(weights->mutable_data_ptr());
  }

  // Of one chunk of `values`, the flat buffer that chunks count in.
  void Store(const float* values, const Chunk& chunk) const {
    if (weights_ == nullptr) return;
    const std::int64_t shift = places_[chunk.parameter].shift;
    if (shift == StoredWeight::kNowhere) return;
    cpu::Narrow(type_, values + chunk.begin, chunk.size, weights_ + chunk.begin + shift);
  }

 private:
  const StoredWeight* places_ = nullptr;
  at::ScalarType type_ = at::kBFloat16;
  std::uint16_t* weights_ = nullptr;
};

}  // namespace mantissa::trainer::kernels
