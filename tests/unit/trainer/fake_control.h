// The outside of a run, with its answers decided beforehand.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "worker/trainer/training_run.h"

namespace mantissa::trainer {

// Asks for a stop from its `stop_at`th question on, counted from 1; never without one.
class FakeControl final : public RunControl {
 public:
  FakeControl() = default;
  explicit FakeControl(int stop_at, bool checkpoint = false) : stop_at_(stop_at), checkpoint_(checkpoint) {}

  bool stop_requested() override {
    ++questions_;
    return stop_at_ > 0 && questions_ >= stop_at_;
  }
  StopRequest stop() const override { return {checkpoint_, or_go_on}; }
  // Asked for no more, as an agent does that was told.
  void DeclineStop(const absl::Status& why) override {
    declined.push_back(why);
    stop_at_ = 0;
  }

  bool or_go_on = false;
  std::vector<absl::Status> declined;

  int questions() const { return questions_; }

 private:
  int stop_at_ = 0;
  const bool checkpoint_ = false;
  int questions_ = 0;
};

}  // namespace mantissa::trainer
