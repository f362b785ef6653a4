#include "server/rpc/access/crowd_guard.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "process/file_descriptor.h"
#include "process/log.h"
#include "server/rpc/access/reset_judge.h"

namespace mantissa::server {
namespace {

// Of which a connection that says nothing costs 20 KiB.
constexpr int kMostDescriptors = 10'000;
constexpr std::chrono::seconds kComplaintInterval{1};

// Of what the process may have open, so much that what comes in between two looks still finds room.
int MostDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMostDescriptors;
  return static_cast<int>(std::min<rlim_t>(kMostDescriptors, limit.rlim_cur / 2));
}

// As many descriptors are open at least, for a new one is the lowest that is free; -1 where none is.
int OpenDescriptors() { return process::FileDescriptor(::eventfd(0, EFD_CLOEXEC)).get(); }

}  // namespace

// Note [Crowds]
//
// Whoever reaches a port can open connections and say nothing on them, and each is a descriptor. When there is none
// left, no file of the store can be opened either; and the listener of gRPC 1.51, which takes a failed accept() for its
// own end, takes no connection ever again. So some are ended while descriptors are left. Whose? A client needs one or
// two, a machine with a worker and a dashboard a few; so those of the address that has most, and of these the ones that
// sent least, for who works says something. Where many share an address, behind a proxy or NAT, and one of them does
// this, the others are met only when he says more than they. A crowd that comes from thousands of addresses is for the
// network to stop.

std::vector<InboundConnection> WhoMakesRoom(const std::vector<InboundConnection>& connections) {
  std::map<std::string, std::vector<InboundConnection>> of_address;
  for (const InboundConnection& connection : connections) {
    of_address[AddressOfPeer(connection.peer)].push_back(connection);
  }
  if (of_address.empty()) return {};
  const auto fewer = [](const auto& one, const auto& other) { return one.second.size() < other.second.size(); };
  std::vector<InboundConnection> most = std::max_element(of_address.begin(), of_address.end(), fewer)->second;
  std::sort(most.begin(), most.end(), [](const InboundConnection& one, const InboundConnection& other) {
    return one.received_bytes < other.received_bytes;
  });
  most.resize((most.size() + 1) / 2);
  return most;
}

void CrowdGuard::Look(process::SteadyTime now) {
  const int open = OpenDescriptors();
  if (open >= 0 && open < MostDescriptors()) return;
  if (open < 0 && now >= next_complaint_) {
    process::Log(process::Level::kError, "no file descriptor is left, and gRPC may take no connection ever again",
                 {{"remedy", "restart the server with a higher limit of open files (ulimit -Hn)"}});
    next_complaint_ = now + kComplaintInterval;
  }
  for (const InboundConnection& connection : WhoMakesRoom(ListInboundConnections(ports_))) {
    if (EndConnection(connection)) ended_.Add(now, connection.peer);
  }
}

}  // namespace mantissa::server
