// Who opens calls only to reset them, and what becomes of where he comes from; that a real server answers others beside
// such a peer is tests/fault/server/test_floods.py.
#include <chrono>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "gmock/gmock.h"

#include "process/file_descriptor.h"
#include "server/rpc/access/inbound_connections.h"
#include "server/rpc/access/reset_judge.h"
#include "server/rpc/access/stream_counts.h"
#include "server/rpc/listen_address.h"
#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr process::SteadyTime kStart{};

class ResetJudgeTest : public testing::Test {
 protected:
  // Of streams that never had an answer.
  static StreamCounts Unanswered(const std::string& peer, std::int64_t begun) { return {peer, begun, 0}; }

  std::vector<std::string> At(milliseconds since_start, const std::vector<StreamCounts>& connections) {
    return judge.WhoResets(kStart + since_start, connections);
  }

  bool Barred(milliseconds since_start, const std::string& peer) const {
    return judge.IsBarred(kStart + since_start, peer);
  }

  // The options of a server.
  ResetJudge judge{ResetJudgeOptions{}};
};

TEST_F(ResetJudgeTest, WhoResetsTwoThousandStreamsWithinTwoSecondsMayStillDoSo) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 1000)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1999), {Unanswered("10.0.0.1:1", 2000)}), IsEmpty()) << "a deadline of 1 ms, in turn";
  EXPECT_THAT(At(milliseconds(1999), {Unanswered("10.0.0.1:1", 2001)}), ElementsAre("10.0.0.1:1"));
}

TEST_F(ResetJudgeTest, WhatWasResetTwoWindowsAgoIsForgotten) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 1500)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(999), {Unanswered("10.0.0.1:1", 1600)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1000), {Unanswered("10.0.0.1:1", 1700)}), IsEmpty()) << "a new window";
  EXPECT_THAT(At(milliseconds(2000), {Unanswered("10.0.0.1:1", 3500)}), IsEmpty()) << "1,600 are of two windows ago";
  EXPECT_THAT(At(milliseconds(2001), {Unanswered("10.0.0.1:1", 3601)}), ElementsAre("10.0.0.1:1"))
      << "2,001 since the first second ended";
}

TEST_F(ResetJudgeTest, WhatWasResetBeforeALongSilenceIsForgotten) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 2000)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(2000), {Unanswered("10.0.0.1:1", 2001)}), IsEmpty());
}

TEST_F(ResetJudgeTest, ADashboardThatOpensAllItsWatchesBesideAFloodStays) {
  const StreamCounts flood = Unanswered("10.0.0.1:1", 5000);
  EXPECT_THAT(At(milliseconds(0), {flood, Unanswered("10.0.0.1:2", 100)}), ElementsAre("10.0.0.1:1"));
  EXPECT_THAT(At(milliseconds(1), {flood, Unanswered("10.0.0.1:2", 101)}), ElementsAre("10.0.0.1:1", "10.0.0.1:2"))
      << "more than it may have open: it has reset some";
}

TEST_F(ResetJudgeTest, ADashboardsWatchesThatHaveBeenOpenForLongMayAllBeClosedAtOnce) {
  std::vector<StreamCounts> open;
  for (int i = 0; i < 50; ++i) open.push_back(Unanswered("10.0.0.1:" + std::to_string(i), 100));
  EXPECT_THAT(At(milliseconds(0), open), IsEmpty()) << "and opened, by any number of dashboards";
  EXPECT_THAT(At(milliseconds(3000), open), IsEmpty());
}

TEST_F(ResetJudgeTest, AProxyMostOfWhoseCallsAreAnsweredStays) {
  EXPECT_THAT(At(milliseconds(0), {{"10.0.0.1:1", 6000, 3000}}), IsEmpty()) << "half";
  EXPECT_THAT(At(milliseconds(1), {{"10.0.0.1:1", 6001, 3000}}), ElementsAre("10.0.0.1:1"));
}

TEST_F(ResetJudgeTest, WhatIsAnsweredLateIsAnsweredAllTheSame) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 1500)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1500), {{"10.0.0.1:1", 2600, 600}}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1501), {{"10.0.0.1:1", 2601, 600}}), ElementsAre("10.0.0.1:1"));
}

TEST_F(ResetJudgeTest, ManyConnectionsOfOneAddressAreOneAndThoseOfManyAreNot) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 1001), Unanswered("10.0.0.2:1", 1001)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1),
                 {Unanswered("10.0.0.1:1", 1001), Unanswered("10.0.0.2:1", 1001), Unanswered("10.0.0.1:2", 1000)}),
              UnorderedElementsAre("10.0.0.1:1", "10.0.0.1:2"));
}

TEST_F(ResetJudgeTest, ConnectionsThatHaveGoneCountForTheirAddress) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 1900)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1), {Unanswered("10.0.0.1:2", 101)}), ElementsAre("10.0.0.1:2"));
}

TEST_F(ResetJudgeTest, AnotherConnectionFromTheSamePortBeginsAnew) {
  const StreamCounts other = Unanswered("10.0.0.1:2", 101);
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 2000)}), IsEmpty());
  EXPECT_THAT(At(milliseconds(1), {Unanswered("10.0.0.1:1", 50), other}), ElementsAre("10.0.0.1:2"))
      << "fewer than there were";
  EXPECT_THAT(At(milliseconds(2), {other}), ElementsAre("10.0.0.1:2"));
  EXPECT_THAT(At(milliseconds(3), {Unanswered("10.0.0.1:1", 60), other}), ElementsAre("10.0.0.1:2"))
      << "it was not there in between";
}

TEST_F(ResetJudgeTest, WhoComesFromAnAddressThatResetsIsBarredForTenSecondsAndWhoWasThereStays) {
  const StreamCounts flood = Unanswered("10.0.0.1:1", 2001), worker = Unanswered("10.0.0.1:2", 3);
  EXPECT_FALSE(judge.Bars(kStart));
  EXPECT_THAT(At(milliseconds(0), {worker, flood, Unanswered("10.0.0.2:1", 3)}), ElementsAre("10.0.0.1:1"));
  EXPECT_TRUE(judge.Bars(kStart));
  EXPECT_TRUE(Barred(milliseconds(0), "10.0.0.1:1")) << "it may be found in a handshake before it is counted";
  EXPECT_TRUE(Barred(milliseconds(0), "10.0.0.1:3"));
  EXPECT_FALSE(Barred(milliseconds(0), "10.0.0.1:2"));
  EXPECT_FALSE(Barred(milliseconds(0), "10.0.0.2:3")) << "another address";
  EXPECT_TRUE(Barred(milliseconds(9'999), "10.0.0.1:3"));
  EXPECT_FALSE(Barred(milliseconds(10'000), "10.0.0.1:3"));
  EXPECT_TRUE(judge.Bars(kStart + milliseconds(9'999)));
  EXPECT_FALSE(judge.Bars(kStart + milliseconds(10'000)));
}

TEST_F(ResetJudgeTest, WhoWasThereAndTakesPartLaterMayStayNoLongerAndTheBarBeginsAnew) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 2001), Unanswered("10.0.0.1:2", 3)}),
              ElementsAre("10.0.0.1:1"));
  EXPECT_THAT(At(milliseconds(500), {Unanswered("10.0.0.1:2", 104), Unanswered("10.0.0.1:3", 1)}),
              ElementsAre("10.0.0.1:2"));
  EXPECT_TRUE(Barred(milliseconds(500), "10.0.0.1:2"));
  EXPECT_TRUE(Barred(milliseconds(500), "10.0.0.1:3")) << "it came after the bar had begun";
  EXPECT_TRUE(Barred(milliseconds(10'499), "10.0.0.1:4"));
  EXPECT_FALSE(Barred(milliseconds(10'500), "10.0.0.1:4"));
}

TEST_F(ResetJudgeTest, WhoResetsAHundredStreamsOnEachOfManyConnectionsIsBarredOnceTheyHaveGone) {
  std::vector<StreamCounts> many;
  for (int i = 0; i < 20; ++i) many.push_back(Unanswered("10.0.0.1:" + std::to_string(i), 100));
  many.push_back(Unanswered("10.0.0.1:99", 1));
  const StreamCounts worker = Unanswered("10.0.0.1:100", 3);
  many.push_back(worker);
  EXPECT_THAT(At(milliseconds(0), many), IsEmpty());
  EXPECT_THAT(At(milliseconds(1), many), IsEmpty());
  EXPECT_FALSE(judge.Bars(kStart)) << "they are open, as watches may be";
  many.erase(many.begin(), many.begin() + 20);
  EXPECT_THAT(At(milliseconds(2), many), IsEmpty());
  EXPECT_FALSE(judge.Bars(kStart)) << "2,000 have gone";
  EXPECT_THAT(At(milliseconds(1500), {worker}), IsEmpty());
  EXPECT_TRUE(Barred(milliseconds(1500), "10.0.0.1:5"));
  EXPECT_FALSE(Barred(milliseconds(1500), "10.0.0.1:100"));
}

TEST_F(ResetJudgeTest, ConnectionsOfTheSamePortOneAfterTheOtherHaveGone) {
  for (int i = 0; i < 21; ++i) {
    EXPECT_THAT(At(milliseconds(2 * i), {Unanswered("10.0.0.1:1", 100)}), IsEmpty());
    EXPECT_FALSE(judge.Bars(kStart));
    EXPECT_THAT(At(milliseconds(2 * i + 1), {Unanswered("10.0.0.1:1", 1)}), IsEmpty());
  }
  EXPECT_TRUE(judge.Bars(kStart));
}

TEST_F(ResetJudgeTest, AConnectionThatGoesLongAfterItsStreamsWereOpenedHasResetNone) {
  std::vector<StreamCounts> dashboards;
  for (int i = 0; i < 50; ++i) dashboards.push_back(Unanswered("10.0.0.1:" + std::to_string(i), 100));
  EXPECT_THAT(At(milliseconds(0), dashboards), IsEmpty());
  EXPECT_THAT(At(milliseconds(1000), dashboards), IsEmpty());
  EXPECT_THAT(At(milliseconds(2000), dashboards), IsEmpty());
  EXPECT_THAT(At(milliseconds(2001), {}), IsEmpty());
  EXPECT_FALSE(judge.Bars(kStart));
}

TEST_F(ResetJudgeTest, EachAddressHasABarOfItsOwn) {
  const StreamCounts first = Unanswered("10.0.0.1:1", 2001);
  EXPECT_THAT(At(milliseconds(0), {first}), ElementsAre("10.0.0.1:1"));
  EXPECT_THAT(At(milliseconds(900), {Unanswered("10.0.0.2:1", 2001), Unanswered("10.0.0.2:2", 3)}),
              ElementsAre("10.0.0.2:1"));
  EXPECT_FALSE(Barred(milliseconds(900), "10.0.0.2:2")) << "it was there before its address was barred";
  EXPECT_TRUE(Barred(milliseconds(900), "10.0.0.2:3"));
}

TEST_F(ResetJudgeTest, ANewBarAsksAgainWhoIsThere) {
  EXPECT_THAT(At(milliseconds(0), {Unanswered("10.0.0.1:1", 2001)}), ElementsAre("10.0.0.1:1"));
  EXPECT_THAT(At(seconds(60), {Unanswered("10.0.0.1:2", 3)}), IsEmpty());
  EXPECT_THAT(At(seconds(61), {Unanswered("10.0.0.1:2", 3), Unanswered("10.0.0.1:3", 2001)}),
              ElementsAre("10.0.0.1:3"));
  EXPECT_FALSE(Barred(seconds(61), "10.0.0.1:2"));
}

TEST_F(ResetJudgeTest, AnAddressIsAMachinesAndOfIpv6ItsNetwork) {
  EXPECT_EQ(AddressOfPeer("10.0.0.1:50000"), "10.0.0.1");
  EXPECT_EQ(AddressOfPeer("[2001:db8:1:2:3:4:5:6]:50000"), "2001:db8:1:2::");
  EXPECT_EQ(AddressOfPeer("[2001:db8:1:2:ffff::1]:1"), "2001:db8:1:2::");
  EXPECT_EQ(AddressOfPeer("[2001:db8:1:3::1]:1"), "2001:db8:1:3::");
  EXPECT_EQ(AddressOfPeer("[nothing]:1"), "[nothing]");
  EXPECT_EQ(AddressOfPeer("["), "[");
  EXPECT_EQ(AddressOfPeer(""), "");
}

class StreamCountsTest : public ServerTest {
 protected:
  // Of the connections that come in by the server's port; others of this process, of servers of other tests, are none
  // of ours.
  std::vector<StreamCounts> Counts() const {
    std::vector<StreamCounts> counts;
    const std::vector<InboundConnection> connections =
        ListInboundConnections({ParseListenAddress(server->address())->port});
    for (const StreamCounts& count : ListStreamCounts()) {
      for (const InboundConnection& connection : connections) {
        if (connection.peer == count.peer) counts.push_back(count);
      }
    }
    return counts;
  }

  // Looks until `wanted` is so: a stream is counted when gRPC is done with it, and a client may hear of it before.
  template <typename Wanted>
  std::vector<StreamCounts> CountsOnce(Wanted wanted) const {
    std::vector<StreamCounts> counts = Counts();
    while (counts.empty() || !wanted(counts[0])) counts = Counts();
    return counts;
  }

  void ListJobs(v1::JobService::Stub& stub) {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    EXPECT_TRUE(stub.ListJobs(&context, {}, &response).ok());
  }

  // Opens a watch, waits for what it says first, and resets it.
  void ResetWatch(v1::JobService::Stub& stub) {
    grpc::ClientContext context;
    const auto watch = stub.WatchJobs(&context, {});
    v1::WatchJobsResponse response;
    EXPECT_TRUE(watch->Read(&response));
    context.TryCancel();
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
};

TEST_F(StreamCountsTest, TellWhatEachConnectionBeganAndWhatOfItWasAnswered) {
  StartServer();
  const std::int64_t before = CountCalls();
  const auto stub = v1::JobService::NewStub(NewChannel());
  for (int i = 0; i < 3; ++i) ListJobs(*stub);
  for (int i = 0; i < 2; ++i) ResetWatch(*stub);
  const auto counts = CountsOnce([](const StreamCounts& count) { return count.begun == 5 && count.answered == 3; });
  ASSERT_EQ(counts.size(), 1u) << "the fixture's own stubs have not called";
  EXPECT_THAT(counts[0].peer, testing::StartsWith("127.0.0.1:"));
  EXPECT_EQ(CountCalls() - before, 5);
}

TEST_F(StreamCountsTest, AreOfEveryConnectionWhereThereAreMoreThanOneAnswerHolds) {
  StartServer();
  constexpr std::size_t kConnections = 120;  // a page of channelz has a hundred
  std::vector<std::unique_ptr<v1::JobService::Stub>> stubs;
  for (std::size_t i = 0; i < kConnections; ++i) {
    stubs.push_back(v1::JobService::NewStub(NewChannel()));
    ListJobs(*stubs.back());
  }
  EXPECT_EQ(Counts().size(), kConnections);
}

TEST_F(StreamCountsTest, NameAnIpv6PeerAsTheKernelDoes) {
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  const process::FileDescriptor probe(::socket(AF_INET6, SOCK_STREAM, 0));
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&loopback), sizeof(loopback)) != 0) {
    GTEST_SKIP() << "this machine has no IPv6";
  }
  options.listen = "[::1]:0";
  StartServer();
  const auto stub = v1::JobService::NewStub(NewChannel());
  ListJobs(*stub);
  const std::vector<StreamCounts> counts = Counts();
  ASSERT_EQ(counts.size(), 1u);
  EXPECT_THAT(counts[0].peer, testing::StartsWith("[::1]:"));
}

}  // namespace
}  // namespace mantissa::server
