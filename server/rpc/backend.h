// What every handler works with.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "process/clock.h"
#include "server/metrics/rpc_metrics.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/access.h"
#include "server/rpc/call/blocking_pool.h"
#include "server/rpc/call/open_calls.h"
#include "server/store/blob_files.h"
#include "server/store/group_commit.h"
#include "server/store/job_store.h"
#include "server/telemetry/jobs_feed.h"
#include "server/telemetry/telemetry_hub.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// References only: main.cc, or a test, owns all of it and lets it outlive the gRPC server.
struct Backend {
  JobStore& store;
  GroupCommit& commit;
  BlobFiles& blobs;
  TelemetryHub& telemetry;
  JobsFeed& jobs_feed;
  WakeSignal& log_signal;     // by job: its logs have grown, or an attempt of it has changed
  WakeSignal& worker_signal;  // by worker: what is desired of it has changed
  BlockingPool& pool;
  OpenCalls& open_calls;
  ServerMetrics& metrics;
  RpcMetrics& rpc_metrics;
  Access& access;
  const process::Clock& clock;
  // Whether this server may rely on being the active one; null where there is no other.
  std::function<bool()> is_active = nullptr;

  bool MayAnswer() const { return !is_active || is_active(); }
};

}  // namespace mantissa::server
