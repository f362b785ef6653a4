#include "tests/unit/server_rpc/server_fixture.h"

#include <cstdlib>

#include "google/rpc/status.pb.h"
#include <openssl/sha.h>

#include "process/ids.h"
#include "proto/spec/features.h"

namespace mantissa::server {

using std::chrono::milliseconds;

v1::JobSpec GoodSpec(const std::string& name) {
  v1::JobSpec spec;
  spec.set_name(name);
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic()->set_samples(64);
  spec.mutable_training()->set_iterations(100);
  return spec;
}

namespace {

template <typename Detail>
Detail DetailOf(const grpc::Status& status, bool* found = nullptr) {
  google::rpc::Status rich;
  Detail detail;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  for (const google::protobuf::Any& any : rich.details()) {
    if (any.Is<Detail>() && any.UnpackTo(&detail)) {
      if (found != nullptr) *found = true;
      break;
    }
  }
  return detail;
}

}  // namespace

std::string ReasonOf(const grpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.domain(), "mantissa.dev") << status.error_message();
  return info.reason();
}

google::rpc::BadRequest BadRequestOf(const grpc::Status& status) { return DetailOf<google::rpc::BadRequest>(status); }

bool HasRetryInfo(const grpc::Status& status) {
  bool found = false;
  DetailOf<google::rpc::RetryInfo>(status, &found);
  return found;
}

std::string FieldOf(const grpc::Status& status) {
  const google::rpc::BadRequest bad = BadRequestOf(status);
  return bad.field_violations().empty() ? "" : bad.field_violations(0).field();
}

std::string Sha256Hex(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return process::HexEncode({reinterpret_cast<const char*>(digest), sizeof digest});
}

ServerTest::ServerTest() {
  // In memory where it can be: these tests are about calls, not about the disk.
  std::string name = std::filesystem::exists("/dev/shm") ? "/dev/shm/mantissa-rpc-XXXXXX" : "/tmp/mantissa-rpc-XXXXXX";
  folder = mkdtemp(name.data());
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";  // its HTTP server takes up to two seconds to stop
  options.data_dir = folder / "data";
  options.next_call = milliseconds(200);
}

ServerTest::~ServerTest() {
  server.reset();
  std::filesystem::remove_all(folder);
}

void ServerTest::StartServer() {
  auto started = RunningServer::Start(options, clock);
  ASSERT_TRUE(started.ok()) << started.status();
  server = *std::move(started);
  jobs = v1::JobService::NewStub(NewChannel());
  workers = v1::WorkerService::NewStub(NewChannel());
  admin = v1::AdminService::NewStub(NewChannel());
}

void ServerTest::Restart() {
  server.reset();
  StartServer();
}

std::shared_ptr<grpc::Channel> ServerTest::NewChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(server->address(), grpc::InsecureChannelCredentials(), arguments);
}

v1::Job ServerTest::Submit(const v1::JobSpec& spec) {
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  v1::Job job;
  const grpc::Status status = jobs->SubmitJob(&context, request, &job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return job;
}

v1::Job ServerTest::Get(const std::string& job_id) {
  grpc::ClientContext context;
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::Job job;
  const grpc::Status status = jobs->GetJob(&context, request, &job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return job;
}

FakeWorker::FakeWorker(v1::WorkerService::Stub& stub, const std::string& id) : stub_(stub) {
  report.set_worker_id(id);
  report.set_session_id("session-" + id);
  report.set_host_name("host-of-" + id);
  report.set_version("0.1.0");
  v1::Device& device = *report.add_devices();
  device.set_id("cpu-0");
  device.set_kind(v1::Device::CPU);
  device.set_model("a CPU");
  device.set_memory_bytes(int64_t{8} << 30);
  device.set_cpu_threads(2);
  for (const v1::PrecisionSpec::Mode mode :
       {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}) {
    device.add_precisions(mode);
  }
  for (const char* const name : {"data", "checkpoints"}) {
    v1::Root& root = *report.add_roots();
    root.set_name(name);
    root.set_storage_id("6ba7b810-9dad-41d1-80b4-00c04fd430c8");
    root.set_writable(true);
    root.set_free_bytes(int64_t{1} << 40);
  }
  for (const std::string& feature : spec::BuiltFeatures()) report.add_features(feature);
}

grpc::Status FakeWorker::Synchronize(milliseconds hang) {
  report.set_report_number(report.report_number() + 1);
  report.mutable_max_hang()->set_nanos(static_cast<int32_t>(hang.count() % 1000) * 1'000'000);
  report.mutable_max_hang()->set_seconds(hang.count() / 1000);
  grpc::ClientContext context;
  v1::SynchronizeResponse response;
  const grpc::Status status = stub_.Synchronize(&context, report, &response);
  if (status.ok()) {
    desired = response;
    report.set_applied_revision(desired.desired_revision());
  }
  return status;
}

void FakeWorker::TakeAttempt() {
  for (int call = 0; call < 1000; ++call) {
    const grpc::Status status = Synchronize(milliseconds(1000));
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const v1::DesiredAttempt& attempt : desired.attempts()) {
      if (!attempt.has_assignment()) continue;
      ref = attempt.ref();
      assignment = attempt.assignment();
      v1::AttemptReport& held = *report.add_attempts();
      *held.mutable_ref() = ref;
      held.set_state(v1::Attempt::STARTING);
      return;
    }
  }
  FAIL() << "no attempt was given";
}

void FakeWorker::Run() {
  report.mutable_attempts(0)->set_state(v1::Attempt::RUNNING);
  const grpc::Status status = Synchronize();
  ASSERT_TRUE(status.ok()) << status.error_message();
}

void FakeWorker::End(v1::Attempt::State state, v1::Reason::Code reason, int64_t last_attempt_sequence,
                     std::vector<v1::Artifact> artifacts) {
  v1::AttemptReport& held = *report.mutable_attempts(0);
  held.set_state(state);
  held.set_reason(reason);
  held.set_last_attempt_sequence(last_attempt_sequence);
  for (v1::Artifact& artifact : artifacts) *held.add_artifacts() = std::move(artifact);
  const grpc::Status status = Synchronize();
  ASSERT_TRUE(status.ok()) << status.error_message();
}

v1::Segment FakeWorker::Records(int64_t first, int rows) const {
  v1::Segment segment;
  segment.set_attempt(ref.attempt());
  segment.set_first_attempt_sequence(first);
  segment.set_count(rows);
  const auto add = [&segment](v1::Column::Standard id) -> v1::Column& {
    v1::Column& column = *segment.mutable_records()->add_columns();
    column.set_standard(id);
    return column;
  };
  v1::Column& iteration = add(v1::Column::ITERATION);
  v1::Column& step = add(v1::Column::STEP);
  v1::Column& loss = add(v1::Column::LOSS);
  v1::Column& scale = add(v1::Column::LOSS_SCALE);
  for (int row = 0; row < rows; ++row) {
    iteration.mutable_integers()->add_values(first + row);
    step.mutable_integers()->add_values(first + row);
    loss.mutable_doubles()->add_values(1.0 / static_cast<double>(first + row));
    scale.mutable_doubles()->add_values(65536);
  }
  return segment;
}

v1::PublishTelemetryResponse FakeWorker::Publish(const std::vector<v1::Segment>& segments, grpc::Status* status) {
  grpc::ClientContext context;
  auto stream = stub_.PublishTelemetry(&context);
  v1::PublishTelemetryRequest request;
  *request.mutable_attempt() = ref;
  for (const v1::Segment& segment : segments) *request.add_segments() = segment;
  stream->Write(request);
  stream->WritesDone();
  v1::PublishTelemetryResponse ack, last;
  while (stream->Read(&ack)) last = ack;
  const grpc::Status ended = stream->Finish();
  if (status != nullptr) {
    *status = ended;
  } else {
    EXPECT_TRUE(ended.ok()) << ended.error_message();
  }
  return last;
}

}  // namespace mantissa::server
