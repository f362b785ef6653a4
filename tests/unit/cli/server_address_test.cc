// Where the commands look for the server, and what they say of what they find there.
#include <arpa/inet.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/connection.h"
#include "process/file_descriptor.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Address, IsReadFromTheFlagBeforeTheEnvironment) {
  const FakeServer server;
  CliWorld world;
  world.environment["MANTISSA_ADDRESS"] = server.address();
  EXPECT_EQ(RunCli({"list"}, world).code, kExitOk);
  EXPECT_EQ(RunCli({"list", "--address", "nonsense:0"}, world).code, kExitUsage);
  world.environment["MANTISSA_ADDRESS"] = "http://x";
  EXPECT_EQ(RunCli({"list"}, world).code, kExitUsage);
}

TEST(Address, IsHostAndPort) {
  EXPECT_EQ(*ParseAddress("a.example:1"), "a.example:1");
  EXPECT_EQ(*ParseAddress("a.example"), "a.example:50051");
  EXPECT_EQ(*ParseAddress("[::1]:7"), "[::1]:7");
  EXPECT_EQ(*ParseAddress("[::1]"), "[::1]:50051");
  EXPECT_EQ(*ParseAddress("unix:/tmp/s"), "unix:/tmp/s");
  for (const char* bad : {"", ":1", "h:", "h:0", "h:65536", "h:1x", "http://h:1", "::1", "h :1"}) {
    EXPECT_FALSE(ParseAddress(bad).ok()) << bad;
  }
}

// A socket of the loopback that nobody speaks gRPC on. Not thread-safe.
class StrangePort {
 public:
  // Answers each connection with `reply` once it has been spoken to; nothing: stays silent.
  explicit StrangePort(std::string reply) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(listener_.get(), 8);
    socklen_t length = sizeof(address);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    if (reply.empty()) return;
    thread_ = std::thread([this, reply] {
      while (true) {
        const process::FileDescriptor peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!peer.valid()) return;
        char buffer[1024];
        if (::recv(peer.get(), buffer, sizeof(buffer), 0) <= 0) continue;
        [[maybe_unused]] const ssize_t sent = ::send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~StrangePort() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  const std::string& address() const { return address_; }

 private:
  const process::FileDescriptor listener_;
  std::string address_;
  std::thread thread_;
};

TEST(WrongPort, AWebServerIsCalledWhatItIs) {
  const StrangePort port("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  const CliRun run = RunCli({"list", "--address", port.address(), "--rpc-timeout", "5s"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr("is not a Mantissa server (wrong port?)"));
}

TEST(WrongPort, ANoisyStrangerToo) {
  const StrangePort port("220 mail.example ESMTP ready\r\n");
  const CliRun run = RunCli({"list", "--address", port.address(), "--rpc-timeout", "5s"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr("wrong port"));
}

TEST(WrongPort, ASilentOneIsNotWaitedForLongerThanAllowed) {
  const StrangePort port("");
  const CliRun run = RunCli({"list", "--address", port.address(), "--rpc-timeout", "500ms"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr("does not answer as a Mantissa server does"));
}

TEST(WrongPort, NobodyThereSaysHowToStartAServer) {
  std::string address;
  { address = FakeServer().address(); }
  const CliRun run = RunCli({"list", "--address", address});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, AllOf(HasSubstr("no server answers at " + address), HasSubstr("mantissa-server"),
                             HasSubstr("MANTISSA_ADDRESS")));
}

}  // namespace
}  // namespace mantissa::cli
