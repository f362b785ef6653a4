// The end of an iteration as the host hears of it: its state, and of a skipped one what its gradients showed, in the
// next slot of a ring. See step_record.h.
#include <atomic>
#include <cstring>

#include <torch/library.h>

#include "worker/kernels/publish_record/publish_record_check.h"

namespace mantissa::trainer::kernels {
namespace {

void PublishRecordCpu(const at::Tensor& state, const at::Tensor& stats, const at::Tensor& cursor,
                      const at::Tensor& ring) {
  const RecordSlots slots = CheckRing(stats, ring);
  const StepState& step = *Struct<StepState>(state, "state");
  std::int64_t& published = *Cursor(cursor);
  unsigned char* const slot = slots.ring + published % slots.slots * RecordBytes(slots.parameter_count);
  auto* const record = reinterpret_cast<StepRecord*>(slot);
  record->device_nanos = 0;
  record->state = step;
  if (step.found_inf != 0) {
    std::memcpy(slot + kRecordStats, stats.const_data_ptr(),
                static_cast<std::size_t>(slots.parameter_count) * sizeof(GradientStats));
  }
  ++published;
  std::atomic_ref(record->sequence).store(static_cast<std::uint64_t>(published), std::memory_order_release);
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // `cursor`: records that have been published, int64; `ring`: bytes, whole slots, memory that the host sees.
  library.def("publish_record(Tensor state, Tensor stats, Tensor(a!) cursor, Tensor(b!) ring) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("publish_record", PublishRecordCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) {
  library.impl("publish_record", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace mantissa::trainer::kernels
