// What holds for the server as a whole: limits, discovery, health, what is not built, the way it stops.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/generic/generic_stub.h"

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

class LimitsTest : public ServerTest {
 protected:
  LimitsTest() { StartServer(); }

  void ServeMetrics() {
    options.metrics_listen = "127.0.0.1:0";
    Restart();
  }

  // As the worker called itself last; empty for one that has not been heard of.
  std::string VersionOf(const std::string& worker_id) {
    grpc::ClientContext context;
    v1::ListWorkersResponse response;
    EXPECT_TRUE(admin->ListWorkers(&context, {}, &response).ok());
    for (const v1::Worker& worker : response.workers()) {
      if (worker.id() == worker_id) return worker.version();
    }
    return "";
  }

  // Calls any method with one message of these bytes.
  grpc::Status Call(const std::string& method, const std::string& bytes, std::string* response = nullptr) {
    auto channel = NewChannel();
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag;
    bool ok;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    if (response != nullptr && status.ok()) {
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(answer.Dump(&slices).ok());
      for (const grpc::Slice& part : slices) response->append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
    return status;
  }

  std::string Scrape() {
    const std::string address = server->metrics_address();
    const int port = std::stoi(address.substr(address.rfind(':') + 1));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string text;
    char buffer[4096];
    for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) text.append(buffer, static_cast<size_t>(got));
    close(fd);
    return text;
  }
};

TEST_F(LimitsTest, EveryMethodAnswers) {
  // A watch of all jobs has no end but its client's; of a state that is none it is refused.
  v1::WatchJobsRequest refused;
  refused.mutable_filter()->add_states(v1::Job::STATE_UNSPECIFIED);
  int methods = 0;
  for (const google::protobuf::FileDescriptor* file :
       {v1::SubmitJobRequest::descriptor()->file(), v1::SynchronizeRequest::descriptor()->file(),
        v1::ServerInfo::descriptor()->file()}) {
    const google::protobuf::ServiceDescriptor* service = file->service(0);
    for (int i = 0; i < service->method_count(); ++i) {
      const google::protobuf::MethodDescriptor* method = service->method(i);
      const grpc::Status status = Call("/" + service->full_name() + "/" + method->name(),
                                       method->name() == "WatchJobs" ? refused.SerializeAsString() : "");
      ++methods;
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method->full_name();
    }
  }
  EXPECT_GE(methods, 30);
}

TEST_F(LimitsTest, AnUnknownMethodIsUnimplementedAndGarbageIsRefused) {
  EXPECT_EQ(Call("/mantissa.v1.JobService/Nonsense", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Call("/nobody.Service/Nothing", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  // On a bidirectional stream gRPC tells what it can't parse like an end: nothing of it is acknowledged.
  for (const char* const method : {"JobService/SubmitJob", "JobService/WatchJob", "JobService/WatchJobs",
                                   "WorkerService/Synchronize", "WorkerService/UploadArtifact"}) {
    const grpc::Status status = Call("/mantissa.v1." + std::string(method), "\xff\xff\xff not a message");
    EXPECT_FALSE(status.ok()) << method;
  }
  EXPECT_EQ(Submit().state(), v1::Job::QUEUED) << "and the server serves on";
}

TEST_F(LimitsTest, AMessageBeyondFourMebibytesIsRefused) {
  const grpc::Status status = Call("/mantissa.v1.JobService/SubmitJob", std::string((4 << 20) + 1, '\0'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Submit().state(), v1::Job::QUEUED);
}

TEST_F(LimitsTest, MetadataBeyondItsLimitIsRefused) {
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(100 << 10, 'x'));
  v1::ServerInfo info;
  EXPECT_FALSE(admin->GetServerInfo(&context, v1::GetServerInfoRequest(), &info).ok());
  // On a connection of its own: gRPC may close one that such a header came in.
  grpc::ClientContext again;
  const auto other = v1::AdminService::NewStub(NewChannel());
  EXPECT_TRUE(other->GetServerInfo(&again, v1::GetServerInfoRequest(), &info).ok());
}

// A protobuf field with a string in it, so that health and reflection need no generated code.
std::string StringField(int number, const std::string& text) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(text.size()) + text;
}

TEST_F(LimitsTest, HealthKnowsLifeAndReadiness) {
  for (const char* const service : {"", "mantissa.v1.JobService"}) {
    std::string answer;
    const grpc::Status status = Call("/grpc.health.v1.Health/Check", StringField(1, service), &answer);
    EXPECT_TRUE(status.ok()) << service << status.error_message();
    EXPECT_EQ(answer, std::string("\x08\x01", 2)) << "SERVING";
  }
  EXPECT_EQ(Call("/grpc.health.v1.Health/Check", StringField(1, "nobody")).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(LimitsTest, ReflectionListsTheServices) {
  auto channel = NewChannel();
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  void* tag;
  bool ok;
  auto stream = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  stream->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice slice(StringField(7, "*"));  // list_services
  const grpc::ByteBuffer request(&slice, 1);
  stream->Write(request, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer answer;
  stream->Read(&answer, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(answer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& part : slices) text.append(reinterpret_cast<const char*>(part.begin()), part.size());
  for (const char* const service : {"mantissa.v1.JobService", "mantissa.v1.WorkerService", "mantissa.v1.AdminService",
                                    "externalscaler.ExternalScaler", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, testing::HasSubstr(service));
  }
  stream->WritesDone(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  grpc::Status status;
  stream->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
}

TEST_F(LimitsTest, MoreStreamsThanAConnectionMayHaveWaitForOneToEnd) {
  const v1::Job job = Submit();
  auto channel = NewChannel();
  auto stub = v1::JobService::NewStub(channel);
  v1::WatchJobRequest request;
  request.set_job_id(job.id());
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>>> streams;
  v1::WatchJobResponse frame;
  for (int i = 0; i < 100; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub->WatchJob(contexts.back().get(), request));
    ASSERT_TRUE(streams.back()->Read(&frame));
  }
  v1::GetJobRequest get;
  get.set_job_id(job.id());
  v1::Job seen;
  grpc::ClientContext late;
  std::thread call([&] { EXPECT_TRUE(stub->GetJob(&late, get, &seen).ok()); });
  contexts[0]->TryCancel();
  call.join();
  EXPECT_EQ(seen.id(), job.id());
  EXPECT_EQ(Get(job.id()).id(), job.id()) << "another connection is not held up";
  for (auto& context : contexts) context->TryCancel();
}

TEST_F(LimitsTest, MetricsShowAJobWhileItRunsAndNotAfter) {
  ServeMetrics();
  const v1::Job job = Submit(GoodSpec("shown"));
  FakeWorker worker(*workers);
  worker.TakeAttempt();
  worker.Run();
  worker.Publish({worker.Records(1, 10)});
  std::string text = Scrape();
  EXPECT_THAT(text, testing::HasSubstr("mantissa_job_loss{job_id=\"" + job.id() + "\",name=\"shown\"} 0.1"));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_job_loss_scale{job_id=\"" + job.id() + "\""));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_jobs{state=\"running\"} 1"));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_jobs_submitted_total 1"));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_rpcs_total{code=\"OK\",method=\"JobService/SubmitJob\"} 1"));
  worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 10);
  text = Scrape();
  EXPECT_EQ(text.find(job.id()), std::string::npos);
  EXPECT_THAT(text, testing::HasSubstr("mantissa_jobs{state=\"running\"} 0"));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_jobs_ended_total{state=\"succeeded\"} 1"));
  EXPECT_THAT(text, testing::HasSubstr("mantissa_attempts_ended_total{outcome=\"succeeded\",reason=\"completed\"} 1"));
}

TEST_F(LimitsTest, AWatchIsCountedUntilItsClientGoes) {
  ServeMetrics();
  const v1::Job job = Submit();
  grpc::ClientContext one_context, all_context;
  v1::WatchJobRequest request;
  request.set_job_id(job.id());
  auto one = jobs->WatchJob(&one_context, request);
  v1::WatchJobResponse frame;
  ASSERT_TRUE(one->Read(&frame));
  auto all = jobs->WatchJobs(&all_context, v1::WatchJobsRequest());
  v1::WatchJobsResponse frame_of_all;
  ASSERT_TRUE(all->Read(&frame_of_all));
  EXPECT_THAT(Scrape(), testing::HasSubstr("mantissa_watchers 2\n"));
  one_context.TryCancel();
  all_context.TryCancel();
  for (std::string text; text.find("mantissa_watchers 0\n") == std::string::npos;) text = Scrape();
}

TEST_F(LimitsTest, DrainTellsStreamsToComeBackAndEnds) {
  options.next_call = std::chrono::milliseconds(60'000);
  options.lease = std::chrono::milliseconds(360'000);
  Restart();
  const v1::Job job = Submit();
  v1::WatchJobRequest request;
  request.set_job_id(job.id());
  grpc::ClientContext watch_context, logs_context, telemetry_context, stalled_context;
  auto watch = jobs->WatchJob(&watch_context, request);
  v1::WatchJobResponse frame;
  ASSERT_TRUE(watch->Read(&frame));
  auto telemetry = workers->PublishTelemetry(&telemetry_context);
  telemetry->WaitForInitialMetadata();
  FakeWorker worker(*workers);
  worker.report.set_draining(true);  // gets nothing, and so hangs
  ASSERT_TRUE(worker.Synchronize().ok());
  grpc::Status hanging;
  worker.report.set_version("of the call that hangs");
  std::thread call([&] { hanging = worker.Synchronize(std::chrono::milliseconds(60'000)); });
  // Until the call has been taken in, so that it is the drain that ends it: gRPC cancels those that are still on their
  // way to a handler.
  while (VersionOf("ws-1") != "of the call that hangs") std::this_thread::yield();

  server->Drain(std::chrono::seconds(30));
  call.join();
  while (watch->Read(&frame)) {
  }
  for (const grpc::Status& status : {watch->Finish(), telemetry->Finish()}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(ReasonOf(status), "SHUTTING_DOWN");
    EXPECT_TRUE(HasRetryInfo(status));
  }
  EXPECT_EQ(hanging.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(LimitsTest, APortThatIsTakenAndAFolderInUseAreSaid) {
  ServeMetrics();
  ServerOptions same_port = options;
  same_port.listen = server->address();
  same_port.data_dir = folder / "other";
  const auto second = RunningServer::Start(same_port, clock);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find("another program"), absl::string_view::npos) << second.status();

  ServerOptions same_metrics = options;
  same_metrics.metrics_listen = server->metrics_address();
  same_metrics.data_dir = folder / "other";
  EXPECT_EQ(RunningServer::Start(same_metrics, clock).status().code(), absl::StatusCode::kUnavailable);

  ServerOptions same_folder = options;
  const auto third = RunningServer::Start(same_folder, clock);
  EXPECT_EQ(third.status().code(), absl::StatusCode::kFailedPrecondition) << third.status();

  ServerOptions nowhere = options;
  nowhere.data_dir = folder / "missing" / "deep";
  EXPECT_EQ(RunningServer::Start(nowhere, clock).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mantissa::server
