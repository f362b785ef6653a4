#include "worker/agent/devices/gpu_poller.h"

#include <functional>
#include <memory>
#include <thread>

#include "gtest/gtest.h"

#include "process/mutex.h"

namespace mantissa::agent {
namespace {

using std::chrono::milliseconds;

// A driver that answers, or hangs, as a test says. Outlives the poller, as the thread may.
class Driver {
 public:
  GpuReadings Read() {
    process::MutexLock lock(mutex_);
    ++calls_;
    changed_.NotifyAll();
    while (hangs_) changed_.Wait(mutex_);
    ++answers_;
    changed_.NotifyAll();
    GpuReadings readings;
    readings.gpus.emplace_back().index = calls_;
    return readings;
  }
  void Hang(bool hangs) {
    process::MutexLock lock(mutex_);
    hangs_ = hangs;
    changed_.NotifyAll();
  }
  void WaitForCalls(unsigned calls) {
    process::MutexLock lock(mutex_);
    while (calls_ < calls) changed_.Wait(mutex_);
  }
  unsigned answers() {
    process::MutexLock lock(mutex_);
    return answers_;
  }
  void WaitForAnswers(unsigned answers) {
    process::MutexLock lock(mutex_);
    while (answers_ < answers) changed_.Wait(mutex_);
  }

 private:
  process::Mutex mutex_;
  process::CondVar changed_;
  bool hangs_ ABSL_GUARDED_BY(mutex_) = false;
  unsigned calls_ ABSL_GUARDED_BY(mutex_) = 0;
  unsigned answers_ ABSL_GUARDED_BY(mutex_) = 0;
};

class GpuPollerTest : public testing::Test {
 protected:
  std::function<GpuReadings()> Read() const {
    return [driver = driver_] { return driver->Read(); };
  }
  static void Until(const char* what, const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it never came about: " << what;
      std::this_thread::yield();
    }
  }

  const std::shared_ptr<Driver> driver_ = std::make_shared<Driver>();
};

TEST_F(GpuPollerTest, WhoAsksGetsTheNewestReadings) {
  const GpuPoller poller(Read(), {.interval = milliseconds(1), .fresh_for = milliseconds(30'000)});
  Until("the first", [&] { return poller.Newest().has_value(); });
  Until("a later one", [&] { return poller.Newest()->gpus.at(0).index >= 3; });
}

TEST_F(GpuPollerTest, BetweenTwoReadsTheDriverIsLeftAlone) {
  const GpuPoller poller(Read(), {.interval = milliseconds(3'600'000), .fresh_for = milliseconds(3'600'000)});
  Until("the first", [&] { return poller.Newest().has_value(); });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(poller.Newest()->gpus.at(0).index, 1u);
}

TEST_F(GpuPollerTest, ADriverThatHangsHoldsUpNeitherWhoAsksNorTheEnd) {
  driver_->Hang(true);
  {
    const GpuPoller poller(Read(), {.end_within = milliseconds(1)});
    driver_->WaitForCalls(1);
    EXPECT_FALSE(poller.Newest().has_value());
  }
  driver_->Hang(false);
  driver_->WaitForAnswers(1);  // the thread that was left behind
}

TEST_F(GpuPollerTest, ReadingsThatAreOldAreNone) {
  const GpuPoller poller(
      Read(), {.interval = milliseconds(0), .fresh_for = milliseconds(50), .end_within = milliseconds(30'000)});
  Until("the first", [&] { return poller.Newest().has_value(); });
  driver_->Hang(true);
  Until("it is too old", [&] { return !poller.Newest().has_value(); });
  driver_->Hang(false);
  Until("a new one", [&] { return poller.Newest().has_value(); });
}

TEST_F(GpuPollerTest, TheEndWaitsForAReadThatComesToItsEnd) {
  driver_->Hang(true);
  auto poller = std::make_unique<GpuPoller>(Read(), GpuPoller::Options{.end_within = milliseconds(30'000)});
  driver_->WaitForCalls(1);
  unsigned answers_by_then = 0;
  std::thread ends([&] {
    poller.reset();
    answers_by_then = driver_->answers();
  });
  driver_->Hang(false);
  ends.join();
  EXPECT_EQ(answers_by_then, 1u);
}

}  // namespace
}  // namespace mantissa::agent
