#include "server/metrics/rpc_metrics.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"

#include "tests/unit/server_metrics/metrics_text.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(RpcMetricsTest, CountsByMethodAndCodeAndTimesWhatIsTimed) {
  ServerMetrics metrics;
  RpcMetrics rpcs(metrics);
  rpcs.CountTimed("S/A", "OK", milliseconds(3));
  rpcs.CountTimed("S/A", "NOT_FOUND", milliseconds(30));
  rpcs.Count("S/B", "UNAVAILABLE");
  const std::string text = TextOf(metrics);
  EXPECT_THAT(text, HasSubstr("mantissa_rpcs_total{code=\"OK\",method=\"S/A\"} 1"));
  EXPECT_THAT(text, HasSubstr("mantissa_rpcs_total{code=\"NOT_FOUND\",method=\"S/A\"} 1"));
  EXPECT_THAT(text, HasSubstr("mantissa_rpcs_total{code=\"UNAVAILABLE\",method=\"S/B\"} 1"));
  EXPECT_THAT(text, HasSubstr("mantissa_rpc_seconds_count{method=\"S/A\"} 2"));
  EXPECT_EQ(LinesWith(text, "mantissa_rpc_seconds_count{"), 1);
}

TEST(RpcMetricsTest, CountsFromManyThreads) {
  ServerMetrics metrics;
  RpcMetrics rpcs(metrics);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&rpcs] {
      for (int i = 0; i < 500; ++i) rpcs.CountTimed("S/A", "OK", milliseconds(i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(TextOf(metrics), HasSubstr("mantissa_rpcs_total{code=\"OK\",method=\"S/A\"} 2000"));
}

}  // namespace
}  // namespace mantissa::server
