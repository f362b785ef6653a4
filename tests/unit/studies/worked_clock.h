// Clocks that follow what is done instead of the machine, so that what is concluded from times can be told in tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <ATen/record_function.h>

#include "process/fake_clock.h"
#include "tests/unit/studies/study_place.h"

namespace mantissa::trainer {

// Every look is so much later: by `call` until the observer's first case is done, which are the peaks of the device and
// what a call costs, and by `product` from then on. Give no less than the 200 microseconds of a turn, which then is one
// call. Thread-safe as the observer is.
class CallsThenProducts final : public process::Clock {
 public:
  CallsThenProducts(const FakeObserver& observer, std::chrono::nanoseconds call, std::chrono::nanoseconds product)
      : observer_(observer), call_(call), product_(product) {}

  process::SteadyTime Now() const override {
    clock_.Advance(observer_.done == 0 ? call_ : product_);
    return clock_.Now();
  }
  process::WallTime WallNow() const override { return clock_.WallNow(); }

 private:
  const FakeObserver& observer_;
  const std::chrono::nanoseconds call_;
  const std::chrono::nanoseconds product_;
  mutable process::FakeClock clock_;
};

// Every operation that this thread gives to LibTorch takes a millisecond, and nothing else any time. For one thread,
// and one at a time.
class OperationClock final : public process::Clock {
 public:
  OperationClock() : callback_(at::addThreadLocalCallback(at::RecordFunctionCallback(&OperationClock::Count))) {}
  ~OperationClock() override { at::removeCallback(callback_); }
  OperationClock(const OperationClock&) = delete;
  OperationClock& operator=(const OperationClock&) = delete;

  process::SteadyTime Now() const override { return process::SteadyTime() + std::chrono::milliseconds(operations_); }
  process::WallTime WallNow() const override { return {}; }

 private:
  static std::unique_ptr<at::ObserverContext> Count(const at::RecordFunction&) {
    ++operations_;
    return nullptr;
  }

  static inline thread_local std::int64_t operations_ = 0;
  const at::CallbackHandle callback_;
};

}  // namespace mantissa::trainer
