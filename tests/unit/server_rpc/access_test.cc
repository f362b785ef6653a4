// The parts of Access; what they come to for every method and caller is tests/integration/test_access.py.
#include "server/rpc/access/access.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

#include "mantissa/v1/admin_service.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "server/core/errors.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/caller.h"
#include "server/rpc/access/certificate_identity.h"
#include "server/rpc/access/memory_bound.h"
#include "server/rpc/access/method_table.h"
#include "server/rpc/access/tenant_limits.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;

TEST(MethodTableTest, HasARowForEveryMethodOfOursAndNoOther) {
  std::set<std::string> ours;
  for (const google::protobuf::FileDescriptor* file :
       {v1::SubmitJobRequest::descriptor()->file(), v1::SynchronizeRequest::descriptor()->file(),
        v1::ServerInfo::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const std::string path = "/" + file->service(s)->full_name() + "/" + file->service(s)->method(m)->name();
        const std::string method(MethodOfPath(path));
        EXPECT_NE(WhoMayCall(method), kNobody) << method << " has no row";
        EXPECT_EQ(WhoMayCall(method) & kAnonymous, 0u) << method << " is for who says who he is";
        ours.insert(method);
      }
    }
  }
  EXPECT_GE(ours.size(), 30u);
  for (const MethodRow& row : MethodTable()) {
    const bool foreign = row.method.find('.') != std::string_view::npos;
    EXPECT_TRUE(foreign || ours.contains(std::string(row.method))) << row.method << " is no method";
    EXPECT_NE(row.who, kNobody) << row.method;
  }
}

TEST(MethodTableTest, LetsNobodyCallWhatHasNoRow) {
  for (const char* const method : {"", "JobService/Nonsense", "JobService", "JobService/", "jobservice/getjob",
                                   "mantissa.v1.JobService/GetJob", "grpc.health.v1.Health/List"}) {
    EXPECT_EQ(WhoMayCall(method), kNobody) << method;
  }
  EXPECT_EQ(MethodOfPath("/grpc.health.v1.Health/Check"), "grpc.health.v1.Health/Check");
  EXPECT_EQ(MethodOfPath(""), "");
}

TEST(MethodTableTest, WorkersCallTheirServiceAndNothingElseOfOurs) {
  for (const MethodRow& row : MethodTable()) {
    if (row.method.starts_with("grpc.health.")) continue;
    EXPECT_EQ((row.who & kWorker) != 0, row.method.starts_with("WorkerService/")) << row.method;
    EXPECT_TRUE(row.method.starts_with("WorkerService/") || (row.who & kAdmin) != 0) << row.method;
  }
}

TEST(CertificateIdentityTest, IsTheOneUriOfOurs) {
  const auto worker = IdentityOfUris({"https://example.org/x", "spiffe://mantissa/worker/ws-1"});
  ASSERT_TRUE(worker.ok());
  EXPECT_EQ(worker->worker_id, "ws-1");
  const auto pool = IdentityOfUris({"spiffe://mantissa/workers/mantissa-worker"});
  ASSERT_TRUE(pool.ok());
  EXPECT_TRUE(pool->worker_id.empty());
  EXPECT_EQ(pool->worker_pool, "mantissa-worker");
  const auto admin = IdentityOfUris({"spiffe://mantissa/tenant/ops/admin"});
  ASSERT_TRUE(admin.ok());
  EXPECT_EQ(admin->tenant, "ops");
  EXPECT_EQ(admin->role, process::Role::kAdmin);
  EXPECT_EQ(admin->worker_id, "");
}

TEST(CertificateIdentityTest, OneSpeaksForItsWorkerOrItsPoolAndForNoOther) {
  Caller one, pool;
  one.worker_id = "ws-1";
  pool.worker_pool = "ws";
  EXPECT_TRUE(one.SpeaksFor("ws-1"));
  EXPECT_FALSE(one.SpeaksFor("ws-11") || one.SpeaksFor("ws-1-2") || one.SpeaksFor(""));
  EXPECT_TRUE(pool.SpeaksFor("ws-1") && pool.SpeaksFor("ws-abc-2"));
  EXPECT_FALSE(pool.SpeaksFor("ws") || pool.SpeaksFor("wsx-1") || pool.SpeaksFor("aws-1"));
  EXPECT_TRUE(Caller().SpeaksFor("anybody"));
}

TEST(CertificateIdentityTest, WhatIsNotExactlyThatIsNobody) {
  for (const char* const uri :
       {"spiffe://mantissa/", "spiffe://mantissa/worker", "spiffe://mantissa/worker/", "spiffe://mantissa/worker/a/b",
        "spiffe://mantissa/worker/A", "spiffe://mantissa/worker/..", "spiffe://mantissa/workers/",
        "spiffe://mantissa/workers/a/b", "spiffe://mantissa/tenant/ops", "spiffe://mantissa/tenant/ops/root",
        "spiffe://mantissa/tenant//admin", "spiffe://mantissa/tenant/ops/admin/", "spiffe://mantissa.example/worker/a",
        "SPIFFE://mantissa/worker/a", "spiffe://other/worker/a", "mantissa/worker/a", ""}) {
    const auto identity = IdentityOfUris({uri});
    EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnauthenticated) << uri;
  }
  EXPECT_FALSE(IdentityOfUris({}).ok());
  EXPECT_FALSE(IdentityOfUris({"spiffe://mantissa/worker/a", "spiffe://mantissa/worker/b"}).ok()) << "one is asked for";
}

TEST(TenantLimitsTest, ATenantMayBeginAsManyCallsASecondAsItIsGiven) {
  TenantLimits limits({.calls_per_second = 10, .streams = 0});
  process::SteadyTime now{};
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limits.BeginCall("a", now).ok()) << i;
  const absl::Status refused = limits.BeginCall("a", now);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "RATE_LIMITED");
  EXPECT_TRUE(limits.BeginCall("b", now).ok()) << "another tenant has its own";
  now += milliseconds(99);
  EXPECT_FALSE(limits.BeginCall("a", now).ok());
  now += milliseconds(2);
  EXPECT_TRUE(limits.BeginCall("a", now).ok());
  EXPECT_FALSE(limits.BeginCall("a", now).ok());
  now += std::chrono::hours(1);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limits.BeginCall("a", now).ok()) << "no more is saved than for a second";
  EXPECT_FALSE(limits.BeginCall("a", now).ok());
}

TEST(TenantLimitsTest, AStreamGivesItsPlaceBackWhenItEnds) {
  TenantLimits limits({.calls_per_second = 0, .streams = 2});
  auto first = limits.OpenStream("a");
  auto second = limits.OpenStream("a");
  ASSERT_TRUE(first.ok() && second.ok());
  const auto refused = limits.OpenStream("a");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), "TOO_MANY_STREAMS");
  EXPECT_TRUE(limits.OpenStream("b").ok());
  first->reset();
  EXPECT_TRUE(limits.OpenStream("a").ok());
}

TEST(TenantLimitsTest, CallsThatArriveAndThoseThatBeginAreCountedApart) {
  TenantLimits limits({.calls_per_second = 1, .streams = 0});
  EXPECT_TRUE(limits.ArrivesInTime("a", {}));
  EXPECT_TRUE(limits.BeginCall("a", {}).ok()) << "it is the same call";
  EXPECT_FALSE(limits.ArrivesInTime("a", {}));
  EXPECT_TRUE(limits.ArrivesInTime("b", {}));
  EXPECT_TRUE(limits.ArrivesInTime("a", process::SteadyTime{} + milliseconds(1001)));
}

TEST(TenantLimitsTest, WhoGoesOnSendingTooMuchIsNeverInTime) {
  TenantLimits limits({.calls_per_second = 100, .streams = 0});
  process::SteadyTime now{};
  for (int i = 0; i < 51; ++i) EXPECT_TRUE(limits.ArrivesInTime("a", now)) << i;
  for (int i = 0; i < 1000; ++i, now += milliseconds(5)) EXPECT_FALSE(limits.ArrivesInTime("a", now)) << i;
  EXPECT_FALSE(limits.ArrivesInTime("a", now + milliseconds(400)));
  EXPECT_TRUE(limits.ArrivesInTime("a", now + milliseconds(1000))) << "half of a second's worth has come together";
}

TEST(MemoryBoundTest, LooksNowAndThenAndRemembersWhatItSaw) {
  std::int64_t resident = 101;
  int looks = 0;
  MemoryBound bound(
      [&] {
        ++looks;
        return resident;
      },
      100);
  process::SteadyTime now{};
  EXPECT_TRUE(bound.Exceeded(now));
  resident = 100;
  EXPECT_TRUE(bound.Exceeded(now + milliseconds(9)));
  EXPECT_EQ(looks, 1);
  EXPECT_FALSE(bound.Exceeded(now + milliseconds(10))) << "as much as there may be is not too much";
  EXPECT_EQ(looks, 2);
}

// What is refused as it arrives hears no reason; so nobody is who can be told one.
TEST(SheddingTest, MeetsWhoCallsTooOftenWhileMemoryIsShortAndNobodyElse) {
  std::int64_t resident = 1000;
  MemoryBound memory([&] { return resident; }, 100);
  ServerMetrics metrics;
  Access access(true, nullptr, {.calls_per_second = 2, .streams = 0}, memory, metrics);
  Caller flooder, modest, worker, anyone;
  flooder.tenant = "flooder";
  modest.tenant = "modest";
  anyone.tenant = kDefaultTenant;
  anyone.anyone = true;
  process::SteadyTime now{};
  EXPECT_TRUE(access.Arrive(flooder, now).ok());
  EXPECT_TRUE(access.Arrive(flooder, now).ok());
  const absl::Status refused = access.Arrive(flooder, now);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "SHED");
  EXPECT_TRUE(access.Arrive(modest, now).ok());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(access.Arrive(worker, now).ok()) << "workers call as often as they are told to";
    EXPECT_TRUE(access.Arrive(anyone, now).ok()) << "where nobody is asked who he is, nobody has a share";
  }
  resident = 50;
  now += milliseconds(20);
  EXPECT_TRUE(access.Arrive(flooder, now).ok()) << "there is room for a handler's refusal, which says more";
}

TEST(TenantLimitsTest, ZeroIsAnyNumber) {
  TenantLimits limits({.calls_per_second = 0, .streams = 0});
  std::vector<std::shared_ptr<void>> places;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(limits.BeginCall("a", {}).ok());
    EXPECT_TRUE(limits.ArrivesInTime("a", {}));
    auto place = limits.OpenStream("a");
    ASSERT_TRUE(place.ok());
    places.push_back(*std::move(place));
  }
}

}  // namespace
}  // namespace mantissa::server
