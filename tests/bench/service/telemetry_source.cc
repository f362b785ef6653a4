#include "telemetry_source.h"

#include <utility>

#include <grpcpp/client_context.h>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "mantissa/v1/worker_service.grpc.pb.h"

namespace mantissa::bench {
namespace {

// An agent's is 4 MiB a job, about two hundred batches.
constexpr std::int64_t kMaxInFlight = 64 * 256;

v1::SubmitJobRequest EndlessJob() {
  v1::SubmitJobRequest request;
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name("fanout");
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic()->set_samples(64);
  spec.mutable_training()->set_iterations(500'000'000);
  return request;
}

}  // namespace

class TelemetrySource::Stream final
    : public grpc::ClientBidiReactor<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse> {
 public:
  Stream(const std::string& address, const v1::AttemptRef& ref) : stub_(v1::WorkerService::NewStub(Connect(address))) {
    stub_->async()->PublishTelemetry(&context_, this);
    *request_.mutable_open() = ref;
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }
  ~Stream() override {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

  void Send(const v1::AttemptRef& ref, v1::Segment segment) {
    const std::int64_t first = segment.first_attempt_sequence();
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !writing_ && first - durable_through_ <= kMaxInFlight; });
      writing_ = true;
    }
    request_.Clear();
    *request_.mutable_attempt() = ref;
    *request_.add_segments() = std::move(segment);
    StartWrite(&request_);
  }
  std::int64_t durable_through() const {
    std::lock_guard lock(mutex_);
    return durable_through_;
  }
  void WaitDurable(std::int64_t through) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return durable_through_ >= through; });
  }

  void OnWriteDone(bool) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    changed_.notify_all();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      std::lock_guard lock(mutex_);
      if (response_.lease_lost()) Die("the lease is lost");
      durable_through_ = response_.durable_through();
      changed_.notify_all();
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    if (status.error_code() != grpc::StatusCode::CANCELLED) Die("PublishTelemetry ended: " + status.error_message());
    std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }

 private:
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;
  v1::PublishTelemetryRequest request_;
  v1::PublishTelemetryResponse response_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool writing_ = true;
  bool done_ = false;
  std::int64_t durable_through_ = 0;
};

TelemetrySource::TelemetrySource(const std::string& address) {
  std::mutex mutex;
  std::condition_variable changed;
  worker_ = std::make_unique<FakeWorker>(
      address, 0, FakeWorker::Events{.assigned = [&](const v1::AttemptRef& ref, FakeWorker::Clock::time_point) {
        std::lock_guard lock(mutex);
        ref_ = ref;
        changed.notify_all();
        return false;
      }});
  worker_->Start();
  grpc::ClientContext context;
  v1::Job job;
  const grpc::Status submitted = v1::JobService::NewStub(Connect(address))->SubmitJob(&context, EndlessJob(), &job);
  if (!submitted.ok()) Die(submitted.error_message());
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ref_.job_id().empty(); });
  }
  stream_ = std::make_unique<Stream>(address, ref_);
}

TelemetrySource::~TelemetrySource() = default;

void TelemetrySource::Send(v1::Segment segment) {
  sent_through_ += segment.count();
  stream_->Send(ref_, std::move(segment));
}

std::int64_t TelemetrySource::durable_through() const { return stream_->durable_through(); }

void TelemetrySource::WaitDurable(std::int64_t through) { stream_->WaitDurable(through); }

}  // namespace mantissa::bench
