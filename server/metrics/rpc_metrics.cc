#include "server/metrics/rpc_metrics.h"

namespace mantissa::server {
namespace {

// Few: each is a series for each of some thirty methods, and P21 bounds them all together.
const prometheus::Histogram::BucketBoundaries kBuckets = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5};

}  // namespace

void RpcMetrics::Count(const std::string& method, const std::string& code) {
  process::MutexLock lock(mutex_);
  prometheus::Counter*& counter = counters_[{method, code}];
  if (counter == nullptr) counter = &metrics_.rpcs.Add({{"method", method}, {"code", code}});
  counter->Increment();
}

void RpcMetrics::CountTimed(const std::string& method, const std::string& code, std::chrono::nanoseconds took) {
  Count(method, code);
  process::MutexLock lock(mutex_);
  prometheus::Histogram*& histogram = histograms_[method];
  if (histogram == nullptr) histogram = &metrics_.rpc_seconds.Add({{"method", method}}, kBuckets);
  histogram->Observe(std::chrono::duration<double>(took).count());
}

}  // namespace mantissa::server
