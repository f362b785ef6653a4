#include "worker/trainer/graph/record_ring.h"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

// The host looks without a pause for as long as short iterations take; then naps, well below what a few iterations in
// flight last, and now and then asks whether the device is still at it.
constexpr int kEagerLooks = 20'000;
constexpr std::chrono::microseconds kNap(20);
constexpr int kNapsBetweenQuestions = 1'000;

}  // namespace

RecordRing::RecordRing(const MantissaRecorder& recorder, const IterationState& iteration, int slots)
    : recorder_(recorder),
      iteration_(iteration),
      parameter_count_(iteration.stats().numel() / static_cast<std::int64_t>(sizeof(GradientStats))),
      slots_(slots),
      memory_(recorder, slots * RecordBytes(parameter_count_), iteration.state().device()),
      cursor_(at::zeros({1}, at::TensorOptions(at::kLong).device(iteration.state().device()))) {}

void RecordRing::Publish() {
  static const auto op = FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::publish_record");
  op.call(iteration_.state(), iteration_.stats(), cursor_, memory_.on_device());
}

void RecordRing::Expect() {
  TORCH_INTERNAL_ASSERT(pending() < slots_, "every slot of the ring is pending");
  ++expected_;
}

const StepRecord& RecordRing::Await() {
  TORCH_INTERNAL_ASSERT(pending() > 0, "no record is pending");
  const std::uint64_t sequence = awaited_ + 1;
  const auto& record = *reinterpret_cast<const StepRecord*>(SlotOf(sequence));
  int looks = 0;
  while (!HasArrived(record, sequence)) {
    if (++looks < kEagerLooks) continue;
    std::this_thread::sleep_for(kNap);
    if (looks < kEagerLooks + kNapsBetweenQuestions) continue;
    CheckDevice(record, sequence);
    looks = kEagerLooks;
  }
  awaited_ = sequence;
  return record;
}

void RecordRing::CheckDevice(const StepRecord& record, std::uint64_t sequence) const {
  std::array<char, 512> error = {};
  const std::int32_t state = recorder_.poll(error.data(), error.size());
  TORCH_CHECK(state <= 1, "the device failed in an iteration: ", error.data());
  TORCH_CHECK(state == 1 || HasArrived(record, sequence), "the device ended an iteration without a record of it");
}

std::span<const GradientStats> RecordRing::stats() const {
  const unsigned char* const rows = SlotOf(awaited_) + kRecordStats;
  return {reinterpret_cast<const GradientStats*>(rows), static_cast<std::size_t>(parameter_count_)};
}

const unsigned char* RecordRing::SlotOf(std::uint64_t sequence) const {
  const std::uint64_t slot = (sequence - 1) % static_cast<std::uint64_t>(slots_);
  return memory_.host() + static_cast<std::int64_t>(slot) * RecordBytes(parameter_count_);
}

bool RecordRing::HasArrived(const StepRecord& record, std::uint64_t sequence) {
  // atomic_ref wants something that may be written, and writes nothing.
  std::atomic_ref<std::uint64_t> written(const_cast<std::uint64_t&>(record.sequence));
  return written.load(std::memory_order_acquire) == sequence;
}

}  // namespace mantissa::trainer
