// What publish_record asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/kernels/check.h"
#include "worker/kernels/publish_record/step_record.h"

namespace mantissa::trainer::kernels {

struct RecordSlots {
  unsigned char* ring = nullptr;
  std::int64_t slots = 0;
  std::int64_t parameter_count = 0;
};

inline RecordSlots CheckRing(const at::Tensor& stats, const at::Tensor& ring) {
  RecordSlots slots;
  slots.parameter_count = StructCount<GradientStats>(stats);
  const std::int64_t bytes = RecordBytes(slots.parameter_count);
  TORCH_CHECK(
      ring.scalar_type() == at::kByte && ring.is_contiguous() && ring.numel() >= bytes && ring.numel() % bytes == 0,
      "ring must be bytes, whole slots of ", bytes);
  slots.ring = static_cast<unsigned char*>(ring.data_ptr());
  slots.slots = ring.numel() / bytes;
  return slots;
}

inline std::int64_t* Cursor(const at::Tensor& cursor) {
  TORCH_CHECK(cursor.scalar_type() == at::kLong && cursor.numel() == 1, "cursor must be one int64");
  return static_cast<std::int64_t*>(cursor.data_ptr());
}

}  // namespace mantissa::trainer::kernels
