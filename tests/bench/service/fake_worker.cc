#include "fake_worker.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <google/protobuf/util/time_util.h>
#include <grpcpp/create_channel.h>

#include "process/ids.h"
#include "proto/spec/features.h"

namespace mantissa::bench {

using google::protobuf::util::TimeUtil;

struct FakeWorker::Call {
  grpc::ClientContext context;
  v1::SynchronizeRequest request;
  v1::SynchronizeResponse response;
};

void Die(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::_Exit(1);
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address, bool fixed_windows) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (fixed_windows) arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

FakeWorker::FakeWorker(const std::string& address, int number, Events events)
    : stub_(v1::WorkerService::NewStub(Connect(address))), events_(std::move(events)) {
  report_.set_worker_id("fake-" + std::to_string(number));
  report_.set_session_id(process::RandomUuid());
  report_.set_host_name("bench");
  report_.set_version("bench");
  v1::Device& device = *report_.add_devices();
  device.set_id("cpu-0");
  device.set_kind(v1::Device::CPU);
  device.set_memory_bytes(int64_t{8} << 30);
  device.set_cpu_threads(1);
  v1::Root& root = *report_.add_roots();
  root.set_name("checkpoints");
  root.set_storage_id(process::RandomUuid());
  root.set_writable(true);
  for (const std::string& feature : spec::BuiltFeatures()) report_.add_features(feature);
  *report_.mutable_max_hang() = TimeUtil::MillisecondsToDuration(1);  // the first answer says that it is known
}

void FakeWorker::Start() {
  std::lock_guard lock(mutex_);
  Report();
}

void FakeWorker::Succeed() {
  std::lock_guard lock(mutex_);
  report_.mutable_attempts(0)->set_state(v1::Attempt::SUCCEEDED);
  Report();
}

bool FakeWorker::answered() const {
  std::lock_guard lock(mutex_);
  return answered_;
}

void FakeWorker::Report() {
  report_.set_report_number(report_.report_number() + 1);
  auto call = std::make_shared<Call>();
  call->request = report_;
  stub_->async()->Synchronize(&call->context, &call->request, &call->response,
                              [this, call](const grpc::Status& status) { Answered(*call, status); });
}

void FakeWorker::Answered(const Call& call, const grpc::Status& status) {
  const Clock::time_point now = Clock::now();
  v1::AttemptRef assigned;
  bool forgotten = false;
  {
    std::lock_guard lock(mutex_);
    if (call.request.report_number() != report_.report_number()) return;  // superseded
    if (!status.ok()) Die(status.error_message());
    answered_ = true;
    report_.set_applied_revision(call.response.desired_revision());
    *report_.mutable_max_hang() = call.response.next_call();
    for (const v1::DesiredAttempt& desired : call.response.attempts()) {
      if (desired.goal() == v1::DesiredAttempt::FORGET && report_.attempts_size() > 0) {
        report_.clear_attempts();
        forgotten = true;
      } else if (desired.has_assignment() && report_.attempts_size() == 0) {
        v1::AttemptReport& attempt = *report_.add_attempts();
        *attempt.mutable_ref() = assigned = desired.ref();
        attempt.set_state(v1::Attempt::RUNNING);
      }
    }
    Report();
  }
  if (!assigned.job_id().empty() && events_.assigned(assigned, now)) Succeed();
  if (forgotten) events_.forgotten();
}

}  // namespace mantissa::bench
