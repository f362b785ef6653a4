#include <thread>

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

// Logs and artifacts of one running attempt.
class FilesTest : public ServerTest {
 protected:
  FilesTest() {
    StartServer();
    job = Submit();
    worker = std::make_unique<FakeWorker>(*workers);
    worker->TakeAttempt();
    worker->Run();
  }

  v1::PublishLogsResponse PublishLogs(const std::string& data, int64_t offset, grpc::Status* status = nullptr,
                                      v1::LogStream::Name name = v1::LogStream::STDERR) {
    grpc::ClientContext context;
    auto stream = workers->PublishLogs(&context);
    v1::PublishLogsRequest request;
    *request.mutable_attempt() = worker->ref;
    request.set_stream(name);
    request.set_offset(offset);
    request.set_data(data);
    stream->Write(request);
    stream->WritesDone();
    v1::PublishLogsResponse ack, last;
    while (stream->Read(&ack)) last = ack;
    const grpc::Status ended = stream->Finish();
    if (status != nullptr) {
      *status = ended;
    } else {
      EXPECT_TRUE(ended.ok()) << ended.error_message();
    }
    return last;
  }

  // What has ended is spoken of no more.
  void Forget() {
    worker->report.clear_attempts();
    EXPECT_TRUE(worker->Synchronize().ok());
  }

  v1::ReadLogsRequest LogsRequest() {
    v1::ReadLogsRequest request;
    request.set_job_id(job.id());
    return request;
  }

  std::string ReadLogs(const v1::ReadLogsRequest& request, grpc::Status* status = nullptr) {
    grpc::ClientContext context;
    auto stream = jobs->ReadLogs(&context, request);
    v1::ReadLogsResponse frame;
    std::string text;
    int64_t next = request.offset();
    while (stream->Read(&frame)) {
      EXPECT_EQ(frame.offset(), next);
      next = frame.offset() + static_cast<int64_t>(frame.data().size());
      text += frame.data();
    }
    const grpc::Status ended = stream->Finish();
    if (status != nullptr) {
      *status = ended;
    } else {
      EXPECT_TRUE(ended.ok()) << ended.error_message();
    }
    return text;
  }

  // What an upload of `bytes` in pieces answers.
  grpc::Status Upload(const v1::Artifact& artifact, const std::string& bytes, v1::UploadArtifactResponse* response,
                      const std::string& token = "") {
    grpc::ClientContext context;
    auto stream = workers->UploadArtifact(&context, response);
    v1::UploadArtifactRequest message;
    *message.mutable_ref() = worker->ref;
    if (!token.empty()) message.mutable_ref()->set_token(token);
    *message.mutable_artifact() = artifact;
    for (size_t at = 0;; at += 100'000) {
      message.set_data(at < bytes.size() ? bytes.substr(at, 100'000) : "");
      if (!stream->Write(message) || at + 100'000 >= bytes.size()) break;
      message.Clear();
    }
    stream->WritesDone();
    return stream->Finish();
  }

  static v1::Artifact Describe(const std::string& name, const std::string& bytes) {
    v1::Artifact artifact;
    artifact.set_name(name);
    artifact.set_size_bytes(static_cast<int64_t>(bytes.size()));
    artifact.set_sha256(Sha256Hex(bytes));
    return artifact;
  }

  struct Download {
    v1::Artifact artifact;
    std::string bytes;
    grpc::Status status;
  };
  Download DownloadFile(const std::string& name, int64_t offset = 0, int64_t length = 0) {
    grpc::ClientContext context;
    v1::DownloadArtifactRequest request;
    request.set_job_id(job.id());
    request.set_name(name);
    request.set_offset(offset);
    request.set_length(length);
    auto stream = jobs->DownloadArtifact(&context, request);
    Download download;
    v1::DownloadArtifactResponse frame;
    while (stream->Read(&frame)) {
      if (frame.has_artifact()) download.artifact = frame.artifact();
      download.bytes += frame.data();
    }
    download.status = stream->Finish();
    return download;
  }

  static std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
    return bytes;
  }

  v1::Job job;
  std::unique_ptr<FakeWorker> worker;
};

TEST_F(FilesTest, LogsAreStoredByOffsetAndReadBack) {
  EXPECT_EQ(PublishLogs("hello ", 0).durable_through(), 6);
  EXPECT_EQ(PublishLogs("lo world\n", 3).durable_through(), 12) << "overlap is dropped";
  EXPECT_EQ(PublishLogs("out", 0, nullptr, v1::LogStream::STDOUT).durable_through(), 3);
  EXPECT_EQ(ReadLogs(LogsRequest()), "hello world\n") << "stderr of the newest attempt";
  v1::ReadLogsRequest request = LogsRequest();
  request.set_offset(6);
  EXPECT_EQ(ReadLogs(request), "world\n");
  request.set_offset(0);
  request.set_stream(v1::LogStream::STDOUT);
  request.set_attempt(1);
  EXPECT_EQ(ReadLogs(request), "out");
}

TEST_F(FilesTest, LongLogsComeInFrames) {
  const std::string text = Bytes(300'000);
  EXPECT_EQ(PublishLogs(text, 0).durable_through(), 300'000);
  EXPECT_EQ(ReadLogs(LogsRequest()), text);
}

TEST_F(FilesTest, AHoleInLogsIsRefused) {
  grpc::Status status;
  PublishLogs("late", 100, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE) << status.error_message();
}

TEST_F(FilesTest, LogsOfAnAttemptWithoutItsLeaseAreRefused) {
  worker->ref.set_token(std::string(16, 'x'));
  EXPECT_TRUE(PublishLogs("zombie", 0).lease_lost());
  EXPECT_EQ(ReadLogs(LogsRequest()), "");
}

TEST_F(FilesTest, FollowedLogsEndWithTheAttempt) {
  v1::ReadLogsRequest request = LogsRequest();
  request.set_follow(true);
  std::string text;
  std::thread reader([&] { text = ReadLogs(request); });
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    PublishLogs(line, static_cast<int64_t>(expected.size()));
    expected += line;
  }
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  Forget();
  reader.join();
  EXPECT_EQ(text, expected);
}

TEST_F(FilesTest, FollowedLogsHaveTheLastWordsThatComeAfterTheEnd) {
  PublishLogs("first ", 0);
  worker->End(v1::Attempt::FAILED, v1::Reason::INTERNAL_ERROR);
  v1::ReadLogsRequest request = LogsRequest();
  EXPECT_EQ(ReadLogs(request), "first ") << "what there is, for one who does not follow";
  request.set_follow(true);
  grpc::ClientContext context;
  const auto stream = jobs->ReadLogs(&context, request);
  v1::ReadLogsResponse frame;
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_EQ(frame.data(), "first ");
  // Each is read before the next is printed: the stream has nothing left to send again and again, and never ends.
  const std::string last = "the last words, a letter at a time, as they come";
  for (size_t i = 0; i < last.size(); ++i) {
    PublishLogs(last.substr(i, 1), static_cast<int64_t>(6 + i));
    ASSERT_TRUE(stream->Read(&frame)) << "ended before \"" << last.substr(i) << '"';
    EXPECT_EQ(frame.data(), last.substr(i, 1));
  }
  Forget();
  EXPECT_FALSE(stream->Read(&frame));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(FilesTest, LogsCanBeFollowedBeforeTheFirstAttempt) {
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  worker->report.clear_attempts();
  worker->report.set_draining(true);  // takes nothing yet
  ASSERT_TRUE(worker->Synchronize().ok());
  job = Submit();
  v1::ReadLogsRequest request = LogsRequest();
  grpc::Status status;
  ReadLogs(request, &status);
  EXPECT_EQ(ReasonOf(status), "ATTEMPT_NOT_FOUND");
  request.set_follow(true);
  std::string text;
  std::thread reader([&] { text = ReadLogs(request); });
  worker->report.set_draining(false);
  worker->TakeAttempt();
  worker->Run();
  PublishLogs("first words", 0);
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED);
  Forget();
  reader.join();
  EXPECT_EQ(text, "first words");
}

TEST_F(FilesTest, ReadLogsNamesTheFieldThatIsWrong) {
  const auto field = [this](const v1::ReadLogsRequest& request) {
    grpc::Status status;
    ReadLogs(request, &status);
    return FieldOf(status);
  };
  v1::ReadLogsRequest request = LogsRequest();
  request.set_offset(-1);
  grpc::ClientContext context;
  EXPECT_EQ(FieldOf(jobs->ReadLogs(&context, request)->Finish()), "offset");
  request = LogsRequest();
  request.set_attempt(-1);
  EXPECT_EQ(field(request), "attempt");
  request = LogsRequest();
  request.set_rank(1);
  EXPECT_EQ(field(request), "rank");
  request = LogsRequest();
  request.set_stream(static_cast<v1::LogStream::Name>(9));
  EXPECT_EQ(field(request), "stream");
  request = LogsRequest();
  request.set_job_id("x");
  EXPECT_EQ(field(request), "job_id");
  request = LogsRequest();
  request.set_attempt(7);
  grpc::Status status;
  ReadLogs(request, &status);
  EXPECT_EQ(ReasonOf(status), "ATTEMPT_NOT_FOUND");
}

TEST_F(FilesTest, AFileIsUploadedListedAndDownloadedWholeAndInRanges) {
  const std::string bytes = Bytes(450'001);
  const v1::Artifact artifact = Describe("model.safetensors", bytes);
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 0, {artifact});
  ASSERT_EQ(worker->desired.artifacts_size(), 1) << "the server asks for it";
  EXPECT_EQ(worker->desired.artifacts(0).artifact().name(), "model.safetensors");
  EXPECT_EQ(ReasonOf(DownloadFile("").status), "ARTIFACT_ON_ITS_WAY");

  v1::UploadArtifactResponse uploaded;
  const grpc::Status status = Upload(artifact, bytes, &uploaded);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(uploaded.artifact().sha256(), artifact.sha256());
  ASSERT_TRUE(worker->Synchronize().ok());
  EXPECT_EQ(worker->desired.artifacts_size(), 0) << "it is here";

  grpc::ClientContext context;
  v1::ListArtifactsRequest list;
  list.set_job_id(job.id());
  v1::ListArtifactsResponse listed;
  ASSERT_TRUE(jobs->ListArtifacts(&context, list, &listed).ok());
  ASSERT_EQ(listed.artifacts_size(), 1);
  EXPECT_EQ(listed.artifacts(0).size_bytes(), 450'001);

  const Download whole = DownloadFile("");
  EXPECT_TRUE(whole.status.ok()) << whole.status.error_message();
  EXPECT_EQ(whole.artifact.sha256(), artifact.sha256());
  EXPECT_EQ(whole.bytes, bytes);
  EXPECT_EQ(DownloadFile("model.safetensors", 100'000).bytes, bytes.substr(100'000));
  EXPECT_EQ(DownloadFile("model.safetensors", 65'530, 20).bytes, bytes.substr(65'530, 20));
  EXPECT_EQ(DownloadFile("model.safetensors", 450'000, 1'000).bytes, bytes.substr(450'000));
  const Download at_the_end = DownloadFile("model.safetensors", 450'001);
  EXPECT_TRUE(at_the_end.status.ok());
  EXPECT_EQ(at_the_end.bytes, "");
  EXPECT_EQ(DownloadFile("model.safetensors", 450'002).status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(FieldOf(DownloadFile("model.safetensors", -1).status), "offset");
  EXPECT_EQ(FieldOf(DownloadFile("model.safetensors", 0, -1).status), "length");
  for (const char* const name : {"other", "../mantissa.db", "/etc/passwd"}) {
    EXPECT_EQ(ReasonOf(DownloadFile(name).status), "ARTIFACT_NOT_FOUND") << name;
  }
}

TEST_F(FilesTest, AnUploadThatIsNotWhatItSaysLeavesNothing) {
  const std::string bytes = Bytes(10'000);
  const v1::Artifact artifact = Describe("model.safetensors", bytes);
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 0, {artifact});
  v1::UploadArtifactResponse response;
  std::string other = bytes;
  other[5000] = static_cast<char>(other[5000] ^ 1);
  EXPECT_EQ(Upload(artifact, other, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Upload(artifact, bytes.substr(1), &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Upload(artifact, bytes + "x", &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status stale = Upload(artifact, bytes, &response, std::string(16, 'x'));
  EXPECT_EQ(stale.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(stale), "LEASE_LOST");
  EXPECT_FALSE(DownloadFile("").status.ok());
  EXPECT_TRUE(Upload(artifact, bytes, &response).ok()) << "and the right one is still taken";
  EXPECT_EQ(DownloadFile("").bytes, bytes);
}

TEST_F(FilesTest, AFileThatWasNotAskedForIsRefusedAndTheOneThatIsHereStays) {
  const std::string bytes = Bytes(10'000), other = Bytes(5'000);
  v1::UploadArtifactResponse response;
  EXPECT_EQ(Upload(Describe("early", bytes), bytes, &response).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  worker->End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 0,
              {Describe("model.safetensors", bytes), Describe("log.csv", bytes)});
  ASSERT_TRUE(Upload(Describe("model.safetensors", bytes), bytes, &response).ok());
  EXPECT_EQ(Upload(Describe("model.safetensors", other), other, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Sha256Hex(DownloadFile("").bytes), Sha256Hex(bytes));
}

TEST_F(FilesTest, AnUploadWithoutItsFirstWordsIsRefused) {
  v1::UploadArtifactResponse response;
  {
    grpc::ClientContext context;
    auto stream = workers->UploadArtifact(&context, &response);
    stream->WritesDone();
    EXPECT_EQ(FieldOf(stream->Finish()), "ref");
  }
  grpc::ClientContext context;
  auto stream = workers->UploadArtifact(&context, &response);
  v1::UploadArtifactRequest message;
  *message.mutable_ref() = worker->ref;
  stream->Write(message);
  stream->WritesDone();
  EXPECT_EQ(FieldOf(stream->Finish()), "artifact");
}

}  // namespace
}  // namespace mantissa::server
