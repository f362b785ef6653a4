#include "process/regular_thread.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace mantissa::process {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(RegularThread, ItsWorkIsDoneAtOnceAndAgain) {
  std::promise<void> thrice;
  int times = 0;
  const RegularThread thread([&]() -> std::optional<milliseconds> {
    if (++times == 3) thrice.set_value();
    return milliseconds(1);
  });
  thrice.get_future().wait();
}

TEST(RegularThread, ItsEndDoesNotWaitForAPause) {
  std::promise<void> paused;
  {
    const RegularThread thread([&]() -> std::optional<milliseconds> {
      paused.set_value();  // a second time would throw
      return hours(1);
    });
    paused.get_future().wait();
  }
}

TEST(RegularThread, ItsEndWaitsForWorkThatIsUnderWay) {
  std::promise<void> begun, go_on;
  std::atomic<bool> done = false;
  auto thread = std::make_unique<RegularThread>([&]() -> std::optional<milliseconds> {
    begun.set_value();
    go_on.get_future().wait();
    done = true;
    return std::nullopt;
  });
  begun.get_future().wait();
  const auto end = std::async(std::launch::async, [&] { thread.reset(); });
  go_on.set_value();
  end.wait();
  EXPECT_TRUE(done);
}

TEST(RegularThread, WorkThatIsOverIsNotDoneAgain) {
  std::atomic<int> times = 0;
  std::promise<void> twice;
  {
    const RegularThread thread([&]() -> std::optional<milliseconds> {
      if (++times < 2) return milliseconds(0);
      twice.set_value();  // a third time would throw
      return std::nullopt;
    });
    twice.get_future().wait();
  }
  EXPECT_EQ(times, 2);
}

}  // namespace
}  // namespace mantissa::process
