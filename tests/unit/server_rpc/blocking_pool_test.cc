#include "server/rpc/call/blocking_pool.h"

#include <future>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;

// The tasks of a pool with one thread in the order in which they ran. All are posted while the thread is held.
class OneThread {
 public:
  OneThread() {
    pool_.Post("first", [this] { released_.get_future().wait(); });
  }
  void Post(const std::string& tenant, const std::string& name) {
    pool_.Post(tenant, [this, name] { ran_.push_back(name); });
  }
  std::vector<std::string> Run() {
    std::promise<void> done;
    released_.set_value();
    // Behind everything else: of a tenant whose turn comes last, and that has as many tasks as anybody.
    for (int i = 0; i < 10; ++i) {
      pool_.Post("last", [&done, i] {
        if (i == 9) done.set_value();
      });
    }
    done.get_future().wait();
    return ran_;
  }

 private:
  std::promise<void> released_;
  std::vector<std::string> ran_;  // the pool's thread writes it
  BlockingPool pool_{1};
};

TEST(BlockingPoolTest, TenantsTakeTurns) {
  OneThread pool;
  for (const char* const name : {"a1", "a2", "a3", "a4"}) pool.Post("a", name);
  pool.Post("b", "b1");
  pool.Post("c", "c1");
  pool.Post("b", "b2");
  EXPECT_THAT(pool.Run(), ElementsAre("a1", "b1", "c1", "a2", "b2", "a3", "a4"));
}

TEST(BlockingPoolTest, TasksOfOneTenantAreBegunInOrder) {
  OneThread pool;
  for (const char* const name : {"1", "2", "3"}) pool.Post("", name);
  EXPECT_THAT(pool.Run(), ElementsAre("1", "2", "3"));
}

TEST(BlockingPoolTest, WhatWasPostedRunsBeforeItGoes) {
  int ran = 0;
  {
    BlockingPool pool(1);
    for (int i = 0; i < 100; ++i) pool.Post(std::to_string(i % 7), [&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace mantissa::server
