// Health on an address of its own.
#include "server/rpc/health_endpoint.h"

#include "grpcpp/generic/generic_stub.h"

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

// One message of these bytes to any method; the answer's bytes.
grpc::Status Call(const std::string& address, const std::string& method, const std::string& bytes,
                  std::string* answer = nullptr) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::GenericStub stub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(bytes);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag;
  bool ok;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  std::vector<grpc::Slice> slices;
  if (answer != nullptr && status.ok() && response.Dump(&slices).ok()) {
    for (const grpc::Slice& part : slices) answer->append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  return status;
}

const std::string kServing("\x08\x01", 2), kNotServing("\x08\x02", 2);

std::string Check(const std::string& address, const std::string& service) {
  std::string answer;
  const std::string request =
      service.empty() ? "" : "\x0A" + std::string(1, static_cast<char>(service.size())) + service;
  const grpc::Status status = Call(address, "/grpc.health.v1.Health/Check", request, &answer);
  return status.ok() ? answer : status.error_message();
}

class HealthEndpointTest : public ServerTest {};

TEST_F(HealthEndpointTest, TellsLifeAndReadinessAndNothingElse) {
  options.health_listen = "127.0.0.1:0";
  StartServer();
  const std::string address = server->health_address();
  ASSERT_NE(address, server->address());
  EXPECT_EQ(Check(address, ""), kServing);
  EXPECT_EQ(Check(address, "mantissa.v1.JobService"), kServing);
  EXPECT_EQ(Call(address, "/mantissa.v1.JobService/ListJobs", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);

  server->Drain(std::chrono::milliseconds(0));
  EXPECT_EQ(Check(address, "mantissa.v1.JobService"), kNotServing) << "no more calls are taken";
  EXPECT_EQ(Check(address, ""), kServing) << "the process lives";
}

TEST_F(HealthEndpointTest, IsNotThereUnlessAskedFor) {
  StartServer();
  EXPECT_EQ(server->health_address(), "");
}

TEST_F(HealthEndpointTest, AnAddressThatIsTakenIsSaid) {
  auto first = HealthEndpoint::Start("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  options.health_listen = (*first)->address();
  const auto second = RunningServer::Start(options, clock);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << second.status();
}

TEST_F(HealthEndpointTest, IsNotReadyBeforeItIsSaid) {
  auto health = HealthEndpoint::Start("127.0.0.1:0");
  ASSERT_TRUE(health.ok()) << health.status();
  EXPECT_EQ(Check((*health)->address(), ""), kServing);
  EXPECT_EQ(Check((*health)->address(), "mantissa.v1.JobService"), kNotServing);
  (*health)->SetReady(true);
  EXPECT_EQ(Check((*health)->address(), "mantissa.v1.JobService"), kServing);
}

}  // namespace
}  // namespace mantissa::server
