// Who fills the server's memory, and what becomes of his connection; that a real server stays small beside such a peer
// is tests/fault/server/test_floods.py.
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/file_descriptor.h"
#include "server/rpc/access/crowd_guard.h"
#include "server/rpc/access/flood_judge.h"
#include "server/rpc/access/inbound_connections.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr FloodJudgeOptions kOptions{
    .most_growth_bytes = 100, .least_received_bytes = 10, .least_received_share = 0.25, .window = seconds(60)};
constexpr std::int64_t kGrowth = 80;  // which twenty bytes explain

InboundConnection Connection(const std::string& peer, std::int64_t received) {
  return {.peer = peer, .received_bytes = received};
}

std::string PeerOf(const std::optional<InboundConnection>& connection) {
  return connection ? connection->peer : "nobody";
}

TEST(WhoMakesRoomTest, HalfOfTheAddressThatHasMostThoseThatSaidLeast) {
  const auto peers = [](const std::vector<InboundConnection>& connections) {
    std::vector<std::string> names;
    for (const InboundConnection& connection : WhoMakesRoom(connections)) names.push_back(connection.peer);
    return names;
  };
  EXPECT_THAT(peers({}), testing::IsEmpty());
  EXPECT_THAT(peers({Connection("10.0.0.1:1", 5)}), testing::ElementsAre("10.0.0.1:1")) << "there is nobody else";
  const std::vector<InboundConnection> all = {Connection("10.0.0.1:1", 0),   Connection("10.0.0.2:1", 900),
                                              Connection("10.0.0.2:2", 0),   Connection("10.0.0.2:3", 7),
                                              Connection("10.0.0.2:4", 500), Connection("10.0.0.1:2", 0)};
  EXPECT_THAT(peers(all), testing::ElementsAre("10.0.0.2:2", "10.0.0.2:3"));
  EXPECT_THAT(peers({Connection("[2001:db8::1]:1", 3), Connection("[2001:db8::2]:1", 2), Connection("10.0.0.1:1", 0)}),
              testing::ElementsAre("[2001:db8::2]:1"))
      << "a /64 is one address";
}

TEST(FloodJudgeTest, MemoryThatIsLargeIsNotMemoryThatGrows) {
  FloodJudge judge(kOptions);
  judge.Begin({}, {});
  EXPECT_EQ(judge.Growth(5000), 0);
  EXPECT_EQ(judge.Growth(5100), 0) << "as much as it may";
  EXPECT_EQ(judge.Growth(5101), 101);
  EXPECT_EQ(judge.Growth(5050), 0) << "it has been freed";
  EXPECT_EQ(judge.Growth(4900), 0);
  EXPECT_EQ(judge.Growth(5001), 101) << "from the least that was seen";
}

TEST(FloodJudgeTest, GrowthIsRememberedOverTwoWindows) {
  FloodJudge judge(kOptions);
  EXPECT_TRUE(judge.IsDue({}));
  judge.Begin({}, {});
  judge.Growth(1000);
  EXPECT_FALSE(judge.IsDue(process::SteadyTime{} + seconds(60) - milliseconds(1)));
  EXPECT_TRUE(judge.IsDue(process::SteadyTime{} + seconds(60)));
  judge.Begin(process::SteadyTime{} + seconds(60), {});
  EXPECT_EQ(judge.Growth(1101), 101) << "of the window before";
  judge.Begin(process::SteadyTime{} + seconds(120), {});
  EXPECT_EQ(judge.Growth(1102), 0) << "of two windows ago: this is how large it is now";
}

TEST(FloodJudgeTest, TheOneWhoSentMostMeanwhileIsMeantAndNotWhoHasBeenHereLongest) {
  FloodJudge judge(kOptions);
  judge.Begin({}, {Connection("worker", 1'000'000)});
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'020), Connection("flooder", 50)}, kGrowth)), "flooder");
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("flooder", 50), Connection("worker", 1'000'060)}, kGrowth)), "worker");
  judge.Begin(process::SteadyTime{} + seconds(60), {Connection("worker", 1'000'060), Connection("flooder", 50)});
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'061), Connection("flooder", 60)}, kGrowth)), "worker")
      << "what came in the window before counts";
}

TEST(FloodJudgeTest, WhoSendsLittleHasNoPartInIt) {
  FloodJudge judge(kOptions);
  judge.Begin({}, {Connection("worker", 1'000'000)});
  constexpr std::int64_t kGrowth = 40;
  EXPECT_EQ(PeerOf(judge.WhoSends({}, kGrowth)), "nobody");
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'009)}, kGrowth)), "nobody");
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'010)}, kGrowth)), "worker");
}

TEST(FloodJudgeTest, GrowthThatWhatComesInDoesNotExplainIsNobodysFault) {
  FloodJudge judge(kOptions);
  judge.Begin({}, {Connection("worker", 1'000'000)});
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'050)}, 201)), "nobody");
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'050)}, 200)), "worker");
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("worker", 1'000'030), Connection("a", 9), Connection("b", 11)}, 200)),
            "worker")
      << "all of them together";
}

TEST(FloodJudgeTest, AnotherConnectionFromTheSamePortBeginsAnew) {
  FloodJudge judge(kOptions);
  judge.Begin({}, {Connection("a", 1000), Connection("b", 0)});
  EXPECT_EQ(PeerOf(judge.WhoSends({Connection("a", 40), Connection("b", 30)}, kGrowth)), "a");
}

TEST(InboundConnectionTest, NamesAnIpv4PeerAsSuchWhereTheListenerTakesBothKinds) {
  const process::FileDescriptor listener(::socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  socklen_t size = sizeof(any);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), size) != 0) GTEST_SKIP() << "this machine has no IPv6";
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &size), 0);
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  four.sin_port = any.sin6_port;
  const process::FileDescriptor client(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&four), sizeof(four)), 0);
  const process::FileDescriptor accepted(::accept(listener.get(), nullptr, nullptr));
  const std::vector<InboundConnection> connections = ListInboundConnections({ntohs(any.sin6_port)});
  ASSERT_EQ(connections.size(), 1u);
  EXPECT_THAT(connections[0].peer, testing::StartsWith("127.0.0.1:"));
}

// A listener and one accepted connection, over loopback.
class InboundConnectionsTest : public testing::Test {
 protected:
  InboundConnectionsTest() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_.get(), any, size), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener_.get(), any, &size), 0);
    port_ = ntohs(address.sin_port);
    EXPECT_EQ(::connect(client_.get(), any, size), 0);
    accepted_ = process::FileDescriptor(::accept(listener_.get(), nullptr, nullptr));
    EXPECT_TRUE(accepted_.valid());
  }

  process::FileDescriptor listener_{::socket(AF_INET, SOCK_STREAM, 0)};
  process::FileDescriptor client_{::socket(AF_INET, SOCK_STREAM, 0)};
  process::FileDescriptor accepted_;
  int port_ = 0;
};

TEST_F(InboundConnectionsTest, AreThoseThatCameInAndWhatTheyHaveSent) {
  const std::string sent(1234, 'x');
  ASSERT_EQ(::send(client_.get(), sent.data(), sent.size(), 0), 1234);
  std::string read(1234, ' ');
  ASSERT_EQ(::recv(accepted_.get(), read.data(), read.size(), MSG_WAITALL), 1234);
  const std::vector<InboundConnection> connections = ListInboundConnections({port_});
  ASSERT_EQ(connections.size(), 1u) << "neither the listener nor the client's end";
  EXPECT_EQ(connections[0].descriptor, accepted_.get());
  EXPECT_EQ(connections[0].received_bytes, 1234);
  EXPECT_THAT(connections[0].peer, testing::StartsWith("127.0.0.1:"));
}

TEST_F(InboundConnectionsTest, EndAtOnceForBothWhateverIsOnItsWay) {
  ASSERT_EQ(::send(client_.get(), "x", 1, 0), 1);
  const InboundConnection connection = ListInboundConnections({port_}).at(0);
  EXPECT_TRUE(EndConnection(connection));
  char byte = 0;
  EXPECT_EQ(::recv(accepted_.get(), &byte, 1, 0), -1) << "not what had come before";
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(::recv(client_.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_TRUE(ListInboundConnections({port_}).empty());
  EXPECT_FALSE(EndConnection(connection)) << "it has ended";
  accepted_.Close();
  EXPECT_TRUE(ListInboundConnections({port_}).empty());
}

TEST_F(InboundConnectionsTest, WhatHasTakenTheirDescriptorMeanwhileIsLeftAlone) {
  InboundConnection gone = ListInboundConnections({port_}).at(0);
  gone.peer = "127.0.0.1:1";
  EXPECT_FALSE(EndConnection(gone)) << "another connection";
  gone.descriptor = listener_.get();
  EXPECT_FALSE(EndConnection(gone)) << "no connection";
  gone.descriptor = 1 << 20;
  EXPECT_FALSE(EndConnection(gone)) << "nothing";
  ASSERT_EQ(::send(client_.get(), "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(::recv(accepted_.get(), &byte, 1, 0), 1) << "it goes on";
}

}  // namespace
}  // namespace mantissa::server
