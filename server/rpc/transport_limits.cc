#include "server/rpc/transport_limits.h"

#include <chrono>
#include <cstddef>

#include "grpcpp/resource_quota.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;

// What is being received and sent. Beyond it connections are refused, and reads wait.
constexpr std::size_t kMostBytes = std::size_t{192} << 20;
constexpr int kMostReceiveBytes = 4 << 20;
constexpr int kMostMetadataBytes = 64 << 10;
constexpr int kMostStreamsOfConnection = 100;
// Agents ping every 5 s, a standby, too; who pings more often than this is told ENHANCE_YOUR_CALM, and pings all
// servers less.
constexpr milliseconds kLeastPingInterval{4'000};
// A peer that has gone without a word is noticed after these two, and its streams end.
constexpr milliseconds kKeepaliveInterval{60'000};
constexpr milliseconds kKeepaliveTimeout{20'000};
// For TLS and HTTP/2 to be agreed on; then who has said nothing is let go.
constexpr milliseconds kHandshakeTimeout{20'000};

int Count(milliseconds duration) { return static_cast<int>(duration.count()); }

}  // namespace

void SetTransportLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMostReceiveBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMostMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostStreamsOfConnection);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, Count(kLeastPingInterval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Count(kKeepaliveInterval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Count(kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Count(kHandshakeTimeout));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // On, as it is by default, a second server would share the port and take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);  // the counts of Note [Resets]
  grpc::ResourceQuota quota("mantissa-server");
  quota.Resize(kMostBytes);
  builder.SetResourceQuota(quota);
  // Reflection is the one synchronous service; it needs no more than a thread at a time.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
}

}  // namespace mantissa::server
