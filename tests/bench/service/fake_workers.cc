// Workers that train nothing, each over a connection of its own: they speak Synchronize as the real agent does
// (worker/agent/sync_loop.h), and say of what they are given that it runs and has succeeded.
//
//   bench_fake_workers ADDRESS WORKERS dispatch JOBS    submits one job after the other; a JSON object on stdout
//   bench_fake_workers ADDRESS WORKERS idle             prints "ready" when all have been answered; runs until killed
//
// dispatch_ms is from sending SubmitJob to having read its assignment, submit_ms to having its answer.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <google/protobuf/util/time_util.h>
#include <grpcpp/create_channel.h>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "mantissa/v1/worker_service.grpc.pb.h"
#include "process/ids.h"
#include "proto/spec/features.h"

namespace {

using namespace mantissa;
using Clock = std::chrono::steady_clock;
using google::protobuf::util::TimeUtil;

// Between a job's end and the next submit: its worker is waiting again by then.
constexpr std::chrono::milliseconds kBetweenJobs{2};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "fake workers: %s\n", what.c_str());
  std::_Exit(1);
}

// The settings of worker/agent/link/grpc_server_link.cc, so that pings cost the server what they do cost it.
std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class Worker {
 public:
  struct Events {
    std::function<void(Clock::time_point)> assigned;
    std::function<void()> forgotten;
  };

  Worker(const std::string& address, int number, Events events)
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

  void Start() {
    std::lock_guard lock(mutex_);
    Report();
  }

  bool answered() const {
    std::lock_guard lock(mutex_);
    return answered_;
  }

 private:
  struct Call {
    grpc::ClientContext context;
    v1::SynchronizeRequest request;
    v1::SynchronizeResponse response;
  };

  // A call with the whole present state; one that still hangs is superseded. Under mutex_.
  void Report() {
    report_.set_report_number(report_.report_number() + 1);
    auto call = std::make_shared<Call>();
    call->request = report_;
    stub_->async()->Synchronize(&call->context, &call->request, &call->response,
                                [this, call](const grpc::Status& status) { Answered(*call, status); });
  }

  void Answered(const Call& call, const grpc::Status& status) {
    const Clock::time_point now = Clock::now();
    bool assigned = false, forgotten = false;
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
          *attempt.mutable_ref() = desired.ref();
          attempt.set_state(v1::Attempt::RUNNING);
          assigned = true;
        }
      }
      if (forgotten || !assigned) Report();
    }
    if (assigned) {
      events_.assigned(now);
      std::lock_guard lock(mutex_);
      Report();
      report_.mutable_attempts(0)->set_state(v1::Attempt::SUCCEEDED);
      Report();
    }
    if (forgotten) events_.forgotten();
  }

  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const Events events_;
  mutable std::mutex mutex_;
  v1::SynchronizeRequest report_;  // the newest, with what has changed since
  bool answered_ = false;
};

v1::SubmitJobRequest TinyJob() {
  v1::SubmitJobRequest request;
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name("bench");
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic()->set_samples(64);
  spec.mutable_training()->set_iterations(1);
  return request;
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

// One job at a time, from the submit until its worker is free again.
class Dispatch {
 public:
  explicit Dispatch(const std::string& address) : stub_(v1::JobService::NewStub(Connect(address))) {}

  Worker::Events events() {
    return {.assigned = [this](Clock::time_point at) { Set([&] { assigned_ = at; }); },
            .forgotten = [this] { Set([&] { forgotten_ = true; }); }};
  }

  void Run(int jobs) {
    const v1::SubmitJobRequest request = TinyJob();
    for (int i = 0; i < jobs; ++i) {
      std::this_thread::sleep_for(kBetweenJobs);
      grpc::ClientContext context;
      v1::Job job;
      std::optional<Clock::time_point> submitted;
      const Clock::time_point sent = Clock::now();
      stub_->async()->SubmitJob(&context, &request, &job, [&](const grpc::Status& status) {
        if (!status.ok()) Die(status.error_message());
        Set([&] { submitted = Clock::now(); });
      });
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return submitted && assigned_ && forgotten_; });
      submit_ms_.push_back(Milliseconds(*submitted - sent));
      dispatch_ms_.push_back(Milliseconds(*assigned_ - sent));
      assigned_.reset();
      forgotten_ = false;
    }
  }

  void Print() const {
    std::printf(
        "{\"dispatch_ms_p50\": %.4f, \"dispatch_ms_p99\": %.4f, \"submit_ms_p50\": %.4f, "
        "\"submit_ms_p99\": %.4f}\n",
        Quantile(dispatch_ms_, 0.5), Quantile(dispatch_ms_, 0.99), Quantile(submit_ms_, 0.5),
        Quantile(submit_ms_, 0.99));
  }

 private:
  static double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

  template <class Change>
  void Set(const Change& change) {
    std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  const std::unique_ptr<v1::JobService::Stub> stub_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Clock::time_point> assigned_;
  bool forgotten_ = false;
  std::vector<double> dispatch_ms_, submit_ms_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 3 ? argv[3] : "";
  if (!(mode == "idle" && argc == 4) && !(mode == "dispatch" && argc == 5)) {
    std::fprintf(stderr, "usage: bench_fake_workers ADDRESS WORKERS dispatch JOBS | idle\n");
    return 2;
  }
  Dispatch dispatch(argv[1]);
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    workers.push_back(std::make_unique<Worker>(argv[1], i, dispatch.events()));
    workers.back()->Start();
  }
  for (const auto& worker : workers) {
    while (!worker->answered()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (mode == "idle") {
    std::printf("ready\n");
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::hours(24));
  }
  dispatch.Run(std::atoi(argv[4]));
  dispatch.Print();
  std::fflush(stdout);
  std::_Exit(0);  // with calls that hang
}
