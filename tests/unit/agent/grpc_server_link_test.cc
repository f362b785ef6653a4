#include "worker/agent/link/grpc_server_link.h"

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPatience{20'000};

// Echoes; what a stream brings is acknowledged at once.
class EchoService final : public v1::WorkerService::Service {
 public:
  grpc::Status Synchronize(grpc::ServerContext* context, const v1::SynchronizeRequest* request,
                           v1::SynchronizeResponse* response) override {
    if (request->worker_id() == "superseded") return {grpc::StatusCode::ABORTED, "superseded"};
    while (request->worker_id() == "hanging" && !context->IsCancelled()) std::this_thread::yield();
    response->set_report_number(request->report_number());
    return grpc::Status::OK;
  }
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest* request,
                                v1::CommitCheckpointResponse* response) override {
    *response->mutable_checkpoint() = request->checkpoint();
    return grpc::Status::OK;
  }
  grpc::Status PublishTelemetry(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::PublishTelemetryResponse, v1::PublishTelemetryRequest>* stream) override {
    v1::PublishTelemetryRequest request;
    while (stream->Read(&request)) {
      if (request.attempt().job_id() == "bad") return {grpc::StatusCode::INVALID_ARGUMENT, "bad"};
      v1::PublishTelemetryResponse response;
      response.set_durable_through(request.segments_size());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status PublishLogs(grpc::ServerContext*,
                           grpc::ServerReaderWriter<v1::PublishLogsResponse, v1::PublishLogsRequest>* stream) override {
    v1::PublishLogsRequest request;
    while (stream->Read(&request)) {
      v1::PublishLogsResponse response;
      response.set_durable_through(static_cast<std::int64_t>(request.data().size()));
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status UploadArtifact(grpc::ServerContext*, grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::UploadArtifactResponse* response) override {
    v1::UploadArtifactRequest request;
    bool first = true;
    while (reader->Read(&request)) {
      if (std::exchange(first, false)) *response->mutable_artifact() = request.artifact();
      uploaded += request.data();
    }
    if (response->artifact().name() == "unwanted") return {grpc::StatusCode::FAILED_PRECONDITION, "not asked for"};
    return grpc::Status::OK;
  }

  std::string uploaded;  // read after the call only
};

class GrpcServerLinkTest : public testing::Test {
 protected:
  GrpcServerLinkTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    link_ = std::make_unique<GrpcServerLink>("127.0.0.1:" + std::to_string(port_));
  }

  absl::StatusOr<v1::SynchronizeResponse> Synchronize(const std::string& worker_id, milliseconds deadline = kPatience) {
    std::promise<absl::StatusOr<v1::SynchronizeResponse>> answer;
    v1::SynchronizeRequest request;
    request.set_worker_id(worker_id);
    request.set_report_number(7);
    link_->Synchronize(request, deadline, [&answer](auto got) { answer.set_value(std::move(got)); });
    return answer.get_future().get();
  }

  EchoService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcServerLink> link_;
};

// What a stream said, for a thread that waits for it. Thread-safe.
template <class Response>
class Heard {
 public:
  StreamEvents<Response> Events() {
    return {.written = [this] { Note([this] { ++written_; }); },
            .received = [this](Response response) { Note([&] { responses_.push_back(std::move(response)); }); },
            .closed = [this](absl::Status status) { Note([&] { closed_.push_back(std::move(status)); }); }};
  }
  bool Await(
      const std::function<bool(int written, const std::vector<Response>&, const std::vector<absl::Status>&)>& is) {
    process::MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!is(written_, responses_, closed_)) {
      if (!changed_.WaitUntil(mutex_, deadline)) return false;
    }
    return true;
  }

 private:
  void Note(const std::function<void()>& change) {
    process::MutexLock lock(mutex_);
    change();
    changed_.NotifyAll();
  }
  process::Mutex mutex_;
  process::CondVar changed_;
  int written_ = 0;
  std::vector<Response> responses_;
  std::vector<absl::Status> closed_;
};

TEST_F(GrpcServerLinkTest, CallsAreAnsweredAndErrorsKeepTheirCode) {
  const auto answer = Synchronize("w");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->report_number(), 7);
  EXPECT_TRUE(absl::IsAborted(Synchronize("superseded").status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Synchronize("hanging", milliseconds(50)).status()));
  std::promise<std::string> name;
  v1::CommitCheckpointRequest request;
  request.mutable_checkpoint()->set_name("c");
  link_->CommitCheckpoint(request, kPatience, [&name](auto got) { name.set_value(got->checkpoint().name()); });
  EXPECT_EQ(name.get_future().get(), "c");
}

TEST_F(GrpcServerLinkTest, AServerThatIsNotThereIsUnavailable) {
  server_->Shutdown(std::chrono::system_clock::now());
  EXPECT_TRUE(absl::IsUnavailable(Synchronize("w").status()));
  link_->Renew();
  EXPECT_TRUE(absl::IsUnavailable(Synchronize("w").status()));
}

TEST_F(GrpcServerLinkTest, AFreshChannelWorks) {
  EXPECT_TRUE(Synchronize("w").ok());
  link_->Renew();
  EXPECT_TRUE(Synchronize("w").ok());
}

// Each link is the process's only channel, so that with it gRPC's callback threads go; see Note [Contexts and
// channels].
TEST_F(GrpcServerLinkTest, ALinkMayGoAsSoonAsItsLastCallIsAnswered) {
  for (int i = 0; i < 200; ++i) {
    link_.reset();
    link_ = std::make_unique<GrpcServerLink>("127.0.0.1:" + std::to_string(port_));
    ASSERT_TRUE(Synchronize("w").ok());
  }
}

TEST_F(GrpcServerLinkTest, ALinkMayGoAsSoonAsItsLastStreamHasEnded) {
  for (int i = 0; i < 200; ++i) {
    link_.reset();
    link_ = std::make_unique<GrpcServerLink>("127.0.0.1:" + std::to_string(port_));
    Heard<v1::PublishTelemetryResponse> heard;
    link_->OpenTelemetry(heard.Events()).reset();
    ASSERT_TRUE(heard.Await([](int, const auto&, const auto& closed) { return closed.size() == 1; }));
  }
}

TEST_F(GrpcServerLinkTest, AStreamCarriesBothWays) {
  Heard<v1::PublishTelemetryResponse> heard;
  auto stream = link_->OpenTelemetry(heard.Events());
  for (int i = 1; i <= 3; ++i) {
    v1::PublishTelemetryRequest request;
    *request.mutable_attempt() = MakeRef();
    for (int n = 0; n < i; ++n) *request.add_segments() = MakeEvent(n + 1);
    stream->Write(request);
    ASSERT_TRUE(heard.Await([i](int written, const auto& responses, const auto&) {
      return written == i && static_cast<int>(responses.size()) == i && responses.back().durable_through() == i;
    }));
  }
  stream.reset();
  EXPECT_TRUE(heard.Await([](int, const auto&, const auto& closed) { return closed.size() == 1; }));
}

TEST_F(GrpcServerLinkTest, AStreamThatTheServerEndsSaysWhyAndTakesNoMoreWrites) {
  Heard<v1::PublishTelemetryResponse> heard;
  auto stream = link_->OpenTelemetry(heard.Events());
  v1::PublishTelemetryRequest request;
  request.mutable_attempt()->set_job_id("bad");
  stream->Write(request);
  ASSERT_TRUE(heard.Await([](int, const auto&, const auto& closed) { return closed.size() == 1; }));
  EXPECT_TRUE(heard.Await([](int, const auto&, const auto& closed) { return absl::IsInvalidArgument(closed[0]); }));
  stream->Write(request);  // the agent has not heard of the end yet
  link_->Shutdown();
}

TEST_F(GrpcServerLinkTest, LogsGoTheSameWay) {
  Heard<v1::PublishLogsResponse> heard;
  auto stream = link_->OpenLogs(heard.Events());
  v1::PublishLogsRequest request;
  request.set_data("hello");
  stream->Write(request);
  EXPECT_TRUE(heard.Await([](int, const auto& responses, const auto&) {
    return !responses.empty() && responses[0].durable_through() == 5;
  }));
  link_->Shutdown();  // no callback runs after it
}

TEST_F(GrpcServerLinkTest, AnUploadArrivesWholeOrSaysWhyNot) {
  int chunks = 0;
  const ChunkSource source = [&chunks]() -> absl::StatusOr<std::string> {
    return ++chunks <= 20 ? std::string(100'000, static_cast<char>('a' + chunks)) : std::string();
  };
  v1::Artifact artifact;
  artifact.set_name("model.safetensors");
  EXPECT_TRUE(link_->UploadArtifact(MakeRef(), artifact, source).ok());
  EXPECT_EQ(service_.uploaded.size(), 2'000'000u);
  artifact.set_name("unwanted");
  chunks = 0;
  EXPECT_TRUE(absl::IsFailedPrecondition(link_->UploadArtifact(MakeRef(), artifact, source)));
  const absl::Status unread = link_->UploadArtifact(
      MakeRef(), artifact, []() -> absl::StatusOr<std::string> { return absl::DataLossError("disk"); });
  EXPECT_TRUE(absl::IsDataLoss(unread)) << unread;
}

TEST_F(GrpcServerLinkTest, ShuttingDownEndsWhatHangsAndWhatComesLater) {
  std::promise<absl::Status> hung;
  v1::SynchronizeRequest request;
  request.set_worker_id("hanging");
  link_->Synchronize(request, kPatience, [&hung](auto got) { hung.set_value(got.status()); });
  Heard<v1::PublishTelemetryResponse> heard;
  auto stream = link_->OpenTelemetry(heard.Events());
  link_->Shutdown();
  EXPECT_TRUE(absl::IsCancelled(hung.get_future().get()));
  EXPECT_TRUE(heard.Await([](int, const auto&, const auto& closed) { return closed.size() == 1; }));
  EXPECT_TRUE(absl::IsCancelled(Synchronize("w").status()));
  Heard<v1::PublishLogsResponse> dead;
  auto late = link_->OpenLogs(dead.Events());
  late->Write({});
  EXPECT_TRUE(dead.Await([](int, const auto&, const auto& closed) { return closed.size() == 1; }));
  stream.reset();
  link_.reset();
}

}  // namespace
}  // namespace mantissa::agent
