// Keeps a number of submits in flight and says how many were answered a second, and how long they took.
//
//   bench_load_client ADDRESS IN_FLIGHT CALLS BATCH      BATCH 0: SubmitJob; else SubmitJobs of that many specs
//
// One JSON object on stdout: jobs_per_s, p50_ms, p99_ms.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/create_channel.h>

#include "mantissa/v1/job_service.grpc.pb.h"

namespace {

using namespace mantissa;
using Clock = std::chrono::steady_clock;

v1::JobSpec Spec() {
  v1::JobSpec spec;
  spec.set_name("bench");
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(128);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic()->set_samples(1024);
  spec.mutable_training()->set_iterations(1);
  (*spec.mutable_resources()->mutable_worker_selector())["bench"] = "nowhere";
  return spec;
}

class Load {
 public:
  Load(const std::string& address, int calls, int batch)
      : stub_(v1::JobService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))),
        left_(calls),
        batch_(batch) {
    *one_.mutable_spec() = Spec();
    for (int i = 0; i < batch; ++i) *many_.add_specs() = Spec();
  }

  // Seconds that all calls took together.
  double Run(int in_flight) {
    const Clock::time_point began = Clock::now();
    for (int i = 0; i < in_flight; ++i) Next();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return open_ == 0 && left_ == 0; });
    return std::chrono::duration<double>(Clock::now() - began).count();
  }

  std::vector<double> times_ms;

 private:
  struct Call {
    grpc::ClientContext context;
    v1::Job job;
    v1::SubmitJobsResponse jobs;
    Clock::time_point began;
  };

  void Next() {
    {
      std::lock_guard lock(mutex_);
      if (left_ == 0) return;
      --left_;
      ++open_;
    }
    auto call = std::make_shared<Call>();
    call->began = Clock::now();
    const auto then = [this, call](const grpc::Status& status) {
      if (!status.ok()) {
        std::fprintf(stderr, "load: %s\n", status.error_message().c_str());
        std::exit(1);
      }
      {
        std::lock_guard lock(mutex_);
        times_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - call->began).count());
      }
      Next();
      std::lock_guard lock(mutex_);
      if (--open_ == 0) done_.notify_all();
    };
    if (batch_ == 0) {
      stub_->async()->SubmitJob(&call->context, &one_, &call->job, then);
    } else {
      stub_->async()->SubmitJobs(&call->context, &many_, &call->jobs, then);
    }
  }

  const std::unique_ptr<v1::JobService::Stub> stub_;
  v1::SubmitJobRequest one_;
  v1::SubmitJobsRequest many_;
  std::mutex mutex_;
  std::condition_variable done_;
  int left_;
  int open_ = 0;
  const int batch_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: bench_load_client ADDRESS IN_FLIGHT CALLS BATCH\n");
    return 2;
  }
  const int calls = std::atoi(argv[3]), batch = std::atoi(argv[4]);
  Load load(argv[1], calls, batch);
  const double seconds = load.Run(std::atoi(argv[2]));
  std::vector<double>& times = load.times_ms;
  std::sort(times.begin(), times.end());
  const auto quantile = [&](double q) { return times[static_cast<size_t>(q * static_cast<double>(times.size() - 1))]; };
  std::printf("{\"jobs_per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", calls * std::max(1, batch) / seconds,
              quantile(0.5), quantile(0.99));
}
