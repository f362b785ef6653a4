// Where a study runs in tests: this CPU, with nothing configured; and somebody who watches it.
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "process/clock.h"
#include "process/roots.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

// Of a message's text format.
template <class Message>
Message From(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

class StudyPlace {
 public:
  StudyEnvironment environment() const {
    return {.device = at::kCPU,
            .device_name = "cpu",
            .precisions = precisions,
            .threads = 1,
            .memory_limit_bytes = memory_limit_bytes,
            .roots = roots_,
            .clock = clock != nullptr ? *clock : real_clock_};
  }

  std::vector<v1::PrecisionSpec::Mode> precisions;
  std::int64_t memory_limit_bytes = 0;
  const process::Clock* clock = nullptr;  // the machine's own

 private:
  const process::Roots roots_;
  const process::RealClock real_clock_;
};

// Asks for a stop once `stop_after` cases are done; never without one.
class StudyWatcher final : public StudyObserver {
 public:
  StudyWatcher() = default;
  explicit StudyWatcher(int stop_after) : stop_after_(stop_after) {}

  bool stop_requested() override { return stop_after_ >= 0 && static_cast<int>(lines.size()) >= stop_after_; }
  void Done(std::int32_t done, std::int32_t total, const std::string& what) override {
    if (done == 0) {
      announced = total;
      return;
    }
    dones.push_back(done);
    totals.push_back(total);
    lines.push_back(what);
  }

  std::int32_t announced = 0;  // cases, before the first of them
  std::vector<std::int32_t> dones;
  std::vector<std::int32_t> totals;
  std::vector<std::string> lines;

 private:
  const int stop_after_ = -1;
};

}  // namespace mantissa::trainer
