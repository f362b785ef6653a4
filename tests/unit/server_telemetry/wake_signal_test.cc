#include "server/telemetry/wake_signal.h"

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

struct Counter : Wakeable {
  void Wake() override { ++wakes; }
  std::atomic<int> wakes{0};
};

TEST(WakeSignalTest, WakesThoseWhoWaitForTheNameAndNobodyElse) {
  WakeSignal signal;
  auto one = std::make_shared<Counter>(), two = std::make_shared<Counter>(), other = std::make_shared<Counter>();
  const WakeSignal::Subscription a(signal, "job-1", one), b(signal, "job-1", two), c(signal, "job-2", other);
  signal.Notify("job-1");
  signal.Notify("job-3");
  EXPECT_EQ(one->wakes, 1);
  EXPECT_EQ(two->wakes, 1);
  EXPECT_EQ(other->wakes, 0);
}

TEST(WakeSignalTest, WhoHasLeftIsNotWokenAndThoseWhoStayAre) {
  WakeSignal signal;
  auto stays = std::make_shared<Counter>(), leaves = std::make_shared<Counter>();
  const WakeSignal::Subscription a(signal, "job", stays);
  std::optional<WakeSignal::Subscription> b;
  b.emplace(signal, "job", leaves);
  b.reset();
  signal.Notify("job");
  EXPECT_EQ(stays->wakes, 1);
  EXPECT_EQ(leaves->wakes, 0);
  EXPECT_EQ(leaves.use_count(), 1);
}

TEST(WakeSignalTest, HoldsUnderComingAndGoing) {
  WakeSignal signal;
  auto stays = std::make_shared<Counter>();
  const WakeSignal::Subscription subscription(signal, "job", stays);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&signal] {
      for (int i = 0; i < 500; ++i) {
        const WakeSignal::Subscription mine(signal, "job", std::make_shared<Counter>());
        signal.Notify("job");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stays->wakes, 2000);
}

}  // namespace
}  // namespace mantissa::server
