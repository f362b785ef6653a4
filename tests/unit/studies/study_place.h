// Where a study runs in tests: this CPU, with nothing configured; and somebody who watches it.
#pragma once

#include <cstdint>
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
            .threads = threads,
            .memory_limit_bytes = memory_limit_bytes,
            .roots = roots_,
            .clock = clock != nullptr ? *clock : real_clock_};
  }

  std::vector<v1::PrecisionSpec::Mode> precisions;
  std::int32_t threads = 1;
  std::int64_t memory_limit_bytes = 0;
  const process::Clock* clock = nullptr;  // the machine's own

 private:
  const process::Roots roots_;
  const process::RealClock real_clock_;
};

// Asks for a stop once `stop_after` cases are done; never without one. Of one study: cases only become more, and are as
// many as were said before the first.
class FakeObserver final : public StudyObserver {
 public:
  explicit FakeObserver(std::int32_t stop_after = -1) : stop_after_(stop_after) {}

  bool stop_requested() override { return stop_after_ >= 0 && done >= stop_after_; }
  void Done(std::int32_t count, std::int32_t all, const std::string& what) override {
    if (total == 0) {
      EXPECT_EQ(count, 0) << "how many there are is said before the first is done";
      EXPECT_EQ(what, "");
      total = all;
      return;
    }
    EXPECT_EQ(all, total) << "there are as many as were said";
    EXPECT_GT(count, done);
    EXPECT_LE(count, all);
    done = count;
    said.push_back(what);
  }

  std::int32_t done = 0;
  std::int32_t total = 0;         // cases; 0 until it was said
  std::vector<std::string> said;  // of each case that was told, or of several at once

 private:
  const std::int32_t stop_after_;
};

}  // namespace mantissa::trainer
