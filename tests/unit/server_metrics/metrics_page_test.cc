#include "server/metrics/metrics_page.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "prometheus/text_serializer.h"

#include "process/fake_clock.h"
#include "proto/spec/defaults.h"
#include "server/store/fake_store.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsPageTest : public testing::Test {
 protected:
  MetricsPageTest()
      : writer_(store_,
                [this] {
                  return std::make_unique<Scheduler>(
                      SchedulerOptions(), IdSource{[this](auto) { return absl::StrFormat("01%024d", ++made_); },
                                                   [] { return std::string(16, 't'); }});
                },
                clock_, {&job_metrics_}) {
    EXPECT_TRUE(writer_.Start().ok());
  }
  ~MetricsPageTest() override { std::filesystem::remove(wal_); }

  std::string Text() { return prometheus::TextSerializer().Serialize(page_.Collect()); }

  // Returns when it has been done.
  void Do(std::function<void(Scheduler&, Moment, Changes&)> decide) {
    process::Mutex mutex;
    process::CondVar changed;
    bool done = false;
    writer_.Submit({std::move(decide), [&](const absl::Status&) {
                      process::MutexLock lock(mutex);
                      done = true;
                      changed.NotifyAll();
                    }});
    process::MutexLock lock(mutex);
    while (!done) changed.Wait(mutex);
  }
  void Report(const std::string& worker, bool draining = false) {
    Do([&](Scheduler& scheduler, Moment now, Changes& changes) {
      v1::SynchronizeRequest request;
      request.set_worker_id(worker);
      request.set_session_id("session");
      request.set_report_number(++reports_);
      request.set_draining(draining);
      EXPECT_TRUE(scheduler.Report(request, now, changes).ok());
    });
  }
  void Submit() {
    Do([](Scheduler& scheduler, Moment now, Changes& changes) {
      v1::JobSpec spec;
      spec.mutable_training()->mutable_model()->mutable_mlp();
      spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
      EXPECT_TRUE(scheduler.Submit(spec, spec::ResolveDefaults(spec), "default", "", now, changes).ok());
    });
  }
  void Serve(const std::string& wal = "") { page_.Serve({writer_, job_metrics_, wal}); }

  const std::string wal_ = testing::TempDir() + "page-" + std::to_string(::getpid()) + "-wal";
  process::FakeClock clock_;
  FakeStore store_;
  ServerMetrics metrics_;
  JobMetrics job_metrics_{metrics_};
  std::atomic<int> made_ = 0;
  int reports_ = 0;
  GroupCommit writer_;
  MetricsPage page_{metrics_, clock_};
};

TEST_F(MetricsPageTest, AServerThatStandsByShowsThatAndItsProcess) {
  metrics_.build_info.Add({{"version", "1"}}).Set(1);
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("mantissa_server_active 0"));
  EXPECT_THAT(text, HasSubstr("mantissa_server_build_info{version=\"1\"} 1"));
  EXPECT_THAT(text, HasSubstr("# TYPE process_cpu_seconds_total counter"));
  EXPECT_THAT(text, HasSubstr("# TYPE process_resident_memory_bytes gauge"));
  EXPECT_THAT(text, Not(HasSubstr("mantissa_jobs")));
  Serve();
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"queued\"} 0"));
}

TEST_F(MetricsPageTest, CountsWorkersByWhatCanBeHadOfThem) {
  Serve();
  for (const char* const state : {"connected", "draining", "disconnected"}) {
    EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"" + std::string(state) + "\"} 0"));
  }
  EXPECT_THAT(Text(), HasSubstr("mantissa_worker_oldest_report_seconds 0"));
  Report("ws-1");
  clock_.Advance(std::chrono::seconds(20));
  Report("ws-2");
  Report("ws-3", /*draining=*/true);
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"connected\"} 2"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"draining\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_worker_oldest_report_seconds 25"));
  clock_.Advance(std::chrono::seconds(5));  // a lease of silence
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"connected\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"disconnected\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("mantissa_worker_oldest_report_seconds 30"));
}

TEST_F(MetricsPageTest, TheWaitOfTheOldestJobGrowsFromScrapeToScrape) {
  Serve();
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_oldest_queued_seconds 0"));
  Submit();
  clock_.Advance(std::chrono::seconds(7));
  Submit();
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_oldest_queued_seconds 7"));
  clock_.StepWall(-std::chrono::hours(2));
  EXPECT_THAT(Text(), HasSubstr("mantissa_job_oldest_queued_seconds 0")) << "no wait is negative";
}

TEST_F(MetricsPageTest, TheWriteAheadLogIsSQLites) {
  Serve(wal_);
  EXPECT_THAT(Text(), HasSubstr("mantissa_store_wal_bytes 0"))
      << "it is gone between the last close and the first write";
  std::ofstream(wal_) << "12345";
  EXPECT_THAT(Text(), HasSubstr("mantissa_store_wal_bytes 5"));
}

TEST_F(MetricsPageTest, AnotherStoreHasNoWriteAheadLogOfOurs) {
  Serve();
  EXPECT_THAT(Text(), Not(HasSubstr("mantissa_store_wal_bytes")));
}

TEST_F(MetricsPageTest, AWriterThatHangsHoldsUpNoScrape) {
  Serve();
  Report("ws-1");
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"connected\"} 1"));
  process::Mutex mutex;
  process::CondVar changed;
  bool hangs = true;
  writer_.Submit({[&](Scheduler&, Moment, Changes&) {
                    process::MutexLock lock(mutex);
                    while (hangs) changed.Wait(mutex);
                  },
                  nullptr});
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"connected\"} 1")) << "as they were";
  {
    process::MutexLock lock(mutex);
    hangs = false;
    changed.NotifyAll();
  }
  Report("ws-2");
  EXPECT_THAT(Text(), HasSubstr("mantissa_workers{state=\"connected\"} 2"));
}

TEST_F(MetricsPageTest, AScrapeWhileTheServerStopsIsAnswered) {
  Serve();
  writer_.Stop();
  EXPECT_THAT(Text(), HasSubstr("mantissa_jobs{state=\"queued\"} 0"));
}

}  // namespace
}  // namespace mantissa::server
