#include "process/mutex.h"

#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

bool AnotherThreadCanTake(Mutex& mutex) {
  bool taken = false;
  std::thread([&] {
    if (mutex.TryLock()) {
      mutex.Unlock();
      taken = true;
    }
  }).join();
  return taken;
}

TEST(MutexTest, CountsEveryIncrementOfManyThreads) {
  Mutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) {
        MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 4000);
}

TEST(MutexTest, TryLockFailsWhileAnotherThreadHolds) {
  Mutex mutex;
  mutex.Lock();
  const bool while_held = AnotherThreadCanTake(mutex);
  mutex.Unlock();
  EXPECT_FALSE(while_held);
  EXPECT_TRUE(AnotherThreadCanTake(mutex));
}

TEST(CondVarTest, HandsAValueFromOneThreadToAnother) {
  Mutex mutex;
  CondVar changed;
  int value = 0;
  std::thread giver([&] {
    MutexLock lock(mutex);
    value = 7;
    changed.NotifyAll();
  });
  {
    MutexLock lock(mutex);
    while (value == 0) changed.Wait(mutex);
    EXPECT_EQ(value, 7);
  }
  giver.join();
}

TEST(CondVarTest, TimedWaitEndsAtAPassedDeadlineAndKeepsTheLock) {
  Mutex mutex;
  CondVar never;
  mutex.Lock();
  EXPECT_FALSE(never.WaitUntil(mutex, std::chrono::steady_clock::now() - std::chrono::hours(1)));
  EXPECT_FALSE(never.WaitFor(mutex, std::chrono::nanoseconds(0)));
  EXPECT_FALSE(AnotherThreadCanTake(mutex));
  mutex.Unlock();
}

TEST(CondVarTest, TheFarthestDeadlineWaitsForTheNotification) {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  std::thread giver([&] {
    MutexLock lock(mutex);
    ready = true;
    changed.NotifyOne();
  });
  {
    MutexLock lock(mutex);
    while (!ready) {
      EXPECT_TRUE(changed.WaitUntil(mutex, std::chrono::steady_clock::time_point::max()));
    }
  }
  giver.join();
  EXPECT_TRUE(ready);
}

}  // namespace
}  // namespace mantissa::process
