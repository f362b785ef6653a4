// How much waits, as those see it who start workers for it.
#include "control_plane.h"
#include "server/core/queue_filter.h"

namespace mantissa::server {
namespace {

constexpr int64_t kAll = 1'000;

v1::JobSpec Asks(v1::ResourceSpec::Device device, const std::string& team = "", const std::string& zone = "") {
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_resources()->set_device(device);
  if (!team.empty()) (*spec.mutable_labels())["team"] = team;
  if (!zone.empty()) (*spec.mutable_resources()->mutable_worker_selector())["zone"] = zone;
  return spec;
}

TEST(SchedulerQueue, CountsWhatWaitsAndNothingElse) {
  ControlPlane plane;
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 0);
  const std::string first = plane.Submit().id();
  const std::string second = plane.Submit().id();
  plane.Submit();
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 3);
  EXPECT_EQ(plane.scheduler->CountQueued({}, 2), 2) << "no more than asked for";
  EXPECT_EQ(plane.scheduler->CountQueued({}, 0), 0);

  FakeWorker worker(plane, "ws-1", {CpuDevice()});
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 2) << "one runs";
  ASSERT_TRUE(plane.Cancel(second).ok());
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 1);
  plane.Restart();
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 1);
}

TEST(SchedulerQueue, AJobInBackoffNeedsNoWorkerYet) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1", {CpuDevice()});
  ASSERT_TRUE(worker.Sync().ok());
  plane.Submit();
  ASSERT_TRUE(worker.Sync().ok());
  worker.held.at(0).set_state(v1::Attempt::FAILED);
  worker.held.at(0).set_reason(v1::Reason::OOM_KILLED);
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_TRUE(plane.Drain("ws-1").ok());
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 0);
  plane.Pass(seconds(3'600));
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 1);
}

TEST(SchedulerQueue, ByWhatJobsAskFor) {
  ControlPlane plane;
  plane.Submit(Asks(v1::ResourceSpec::CPU));
  plane.Submit(Asks(v1::ResourceSpec::CUDA));
  plane.Submit(Asks(v1::ResourceSpec::CUDA));
  plane.Submit(Asks(v1::ResourceSpec::AUTO));
  const auto count = [&plane](std::set<v1::ResourceSpec::Device> devices) {
    return plane.scheduler->CountQueued({.devices = std::move(devices)}, kAll);
  };
  EXPECT_EQ(count({v1::ResourceSpec::CUDA}), 2);
  EXPECT_EQ(count({v1::ResourceSpec::CPU, v1::ResourceSpec::AUTO}), 2);
  EXPECT_EQ(count({}), 4);
}

TEST(SchedulerQueue, ByTheLabelsOfJobs) {
  ControlPlane plane;
  plane.Submit(Asks(v1::ResourceSpec::CPU, "vision"));
  plane.Submit(Asks(v1::ResourceSpec::CUDA, "vision"));
  plane.Submit(Asks(v1::ResourceSpec::CPU, "speech"));
  plane.Submit(Asks(v1::ResourceSpec::CPU));
  EXPECT_EQ(plane.scheduler->CountQueued({.labels = {{"team", "vision"}}}, kAll), 2);
  EXPECT_EQ(plane.scheduler->CountQueued({.labels = {{"team", "vision"}}}, 1), 1);
  EXPECT_EQ(plane.scheduler->CountQueued({.devices = {v1::ResourceSpec::CPU}, .labels = {{"team", "vision"}}}, kAll),
            1);
  EXPECT_EQ(plane.scheduler->CountQueued({.labels = {{"team", "vision"}, {"urgent", "yes"}}}, kAll), 0);
}

TEST(SchedulerQueue, OfATenantOnly) {
  ControlPlane plane;
  plane.Submit();
  plane.Submit();
  EXPECT_EQ(plane.scheduler->CountQueued({.tenant = "default"}, kAll), 2);
  EXPECT_EQ(plane.scheduler->CountQueued({.tenant = "other"}, kAll), 0);
}

TEST(SchedulerQueue, WorkersThatNoJobCouldUseAreNotAskedFor) {
  ControlPlane plane;
  plane.Submit(Asks(v1::ResourceSpec::CPU, "", "a"));
  plane.Submit(Asks(v1::ResourceSpec::CPU));
  EXPECT_EQ(plane.scheduler->CountQueued({}, kAll), 1);
  EXPECT_EQ(plane.scheduler->CountQueued({.worker_labels = {{"zone", "a"}, {"disk", "ssd"}}}, kAll), 2);
  EXPECT_EQ(plane.scheduler->CountQueued({.worker_labels = {{"zone", "b"}}}, kAll), 1);
}

}  // namespace
}  // namespace mantissa::server
