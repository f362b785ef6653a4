// A whole server on a socket of this machine, and a worker that does what a test tells it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

#include "mantissa/v1/admin_service.grpc.pb.h"
#include "mantissa/v1/job_service.grpc.pb.h"
#include "mantissa/v1/worker_service.grpc.pb.h"
#include "process/clock.h"
#include "server/program/running_server.h"

namespace mantissa::server {

// A spec that is good as it is.
v1::JobSpec GoodSpec(const std::string& name = "job");

// What an error carries.
std::string ReasonOf(const grpc::Status& status);
google::rpc::BadRequest BadRequestOf(const grpc::Status& status);
bool HasRetryInfo(const grpc::Status& status);
// Field of the first violation.
std::string FieldOf(const grpc::Status& status);

std::string Sha256Hex(const std::string& bytes);

class ServerTest : public testing::Test {
 protected:
  ServerTest();
  ~ServerTest() override;

  // Stops the server and starts one on the same data.
  void Restart();
  // Before the first use of the server.
  ServerOptions options;
  void StartServer();

  // A channel of its own connection.
  std::shared_ptr<grpc::Channel> NewChannel();

  v1::Job Submit(const v1::JobSpec& spec = GoodSpec());
  v1::Job Get(const std::string& job_id);

  process::RealClock clock;
  std::filesystem::path folder;
  std::unique_ptr<RunningServer> server;
  std::unique_ptr<v1::JobService::Stub> jobs;
  std::unique_ptr<v1::WorkerService::Stub> workers;
  std::unique_ptr<v1::AdminService::Stub> admin;
};

// Speaks WorkerService as a test says; one attempt at a time. Its word is what its report holds.
class FakeWorker {
 public:
  explicit FakeWorker(v1::WorkerService::Stub& stub, const std::string& id = "ws-1");

  // One call with the present report; answered at once with `hang` 0.
  grpc::Status Synchronize(std::chrono::milliseconds hang = std::chrono::milliseconds(0));
  // Calls until the server gives an attempt, and takes it.
  void TakeAttempt();
  // Says that the attempt runs.
  void Run();
  // Says that it has ended, and calls until the server knows.
  void End(v1::Attempt::State state, v1::Reason::Code reason, int64_t last_attempt_sequence = 0,
           std::vector<v1::Artifact> artifacts = {});

  v1::Segment Records(int64_t first, int rows) const;
  // Publishes on a stream of its own; the last acknowledgement.
  v1::PublishTelemetryResponse Publish(const std::vector<v1::Segment>& segments, grpc::Status* status = nullptr);

  v1::SynchronizeRequest report;
  v1::SynchronizeResponse desired;  // the newest answer
  v1::AttemptRef ref;               // of the attempt it holds
  v1::Assignment assignment;

 private:
  v1::WorkerService::Stub& stub_;
};

}  // namespace mantissa::server
