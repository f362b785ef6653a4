// Many workers that train nothing (fake_worker.h): they say of what they are given that it runs and has succeeded.
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
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fake_worker.h"
#include "mantissa/v1/job_service.grpc.pb.h"

namespace {

using namespace mantissa;
using bench::Connect;
using bench::Die;
using bench::FakeWorker;
using Clock = std::chrono::steady_clock;

// Between a job's end and the next submit: its worker is waiting again by then.
constexpr std::chrono::milliseconds kBetweenJobs{2};

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

  FakeWorker::Events events() {
    return {.assigned =
                [this](const v1::AttemptRef&, Clock::time_point at) {
                  Set([&] { assigned_ = at; });
                  return true;
                },
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
  std::vector<std::unique_ptr<FakeWorker>> workers;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    workers.push_back(std::make_unique<FakeWorker>(argv[1], i, dispatch.events()));
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
