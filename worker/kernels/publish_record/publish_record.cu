// The end of an iteration as the host hears of it: one block writes the payload of a slot, every thread makes its own
// part visible to the whole system, and only then one of them writes the sequence number.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/publish_record/publish_record_cuda.h"
#include "worker/kernels/publish_record/step_record.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 128;

using Word = unsigned long long;
static_assert(sizeof(StepState) % sizeof(Word) == 0 && sizeof(GradientStats) % sizeof(Word) == 0);

__device__ std::int64_t DeviceNanos() {
  std::int64_t nanos;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanos));
  return nanos;
}

__device__ void CopyWords(const void* from, void* to, std::int64_t bytes) {
  const auto* const source = static_cast<const Word*>(from);
  auto* const words = static_cast<volatile Word*>(to);
  for (std::int64_t i = threadIdx.x; i < bytes / static_cast<std::int64_t>(sizeof(Word)); i += kThreads) {
    words[i] = source[i];
  }
}

__global__ void Publish(const StepState* state, const GradientStats* stats, std::int64_t parameter_count,
                        std::int64_t* cursor, unsigned char* ring, std::int64_t slots, std::int64_t slot_bytes) {
  WaitForPrevious();
  const std::int64_t published = *cursor;
  unsigned char* const slot = ring + published % slots * slot_bytes;
  auto* const record = reinterpret_cast<StepRecord*>(slot);
  CopyWords(state, &record->state, sizeof(StepState));
  if (state->found_inf != 0) {
    CopyWords(stats, slot + kRecordStats, parameter_count * static_cast<std::int64_t>(sizeof(GradientStats)));
  }
  if (threadIdx.x == 0) *const_cast<volatile std::int64_t*>(&record->device_nanos) = DeviceNanos();
  __threadfence_system();
  __syncthreads();  // `cursor` has been read by everyone, too
  if (threadIdx.x != 0) return;
  *cursor = published + 1;
  __threadfence_system();
  *const_cast<volatile std::uint64_t*>(&record->sequence) = static_cast<std::uint64_t>(published + 1);
}

}  // namespace

void LaunchPublishRecord(const StepState* state, const GradientStats* stats, std::int64_t parameter_count,
                         std::int64_t* cursor, unsigned char* ring, std::int64_t slots, cudaStream_t stream) {
  LaunchKernel(Publish, 1, kThreads, 0, stream, state, stats, parameter_count, cursor, ring, slots,
               RecordBytes(parameter_count));
}

}  // namespace mantissa::trainer::cuda
