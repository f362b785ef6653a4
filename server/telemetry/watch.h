// One watcher's way through the entries of a job.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/store/job_store.h"
#include "server/telemetry/telemetry_hub.h"
#include "server/telemetry/thinned_replay.h"

namespace mantissa::server {

// A WatchJobResponse in pieces: `segments`, each encoded once for all watchers, and everything else.
struct WatchFrame {
  std::vector<std::shared_ptr<const std::string>> segments;
  v1::WatchJobResponse rest;
  int64_t rows = 0;
  bool last = false;  // nothing comes after it
};

struct WatchOptions {
  // What has gathered while a write was under way goes in one frame.
  int64_t frame_rows = 1024;
  int64_t frame_bytes = 64 << 10;
  // Of what is read from the store: nobody else has it, so each reader who has stopped reading keeps such a frame
  // alone.
  int64_t stored_frame_bytes = 16 << 10;
};

// Replays what is stored, thinned where that was asked for, then follows; every entry once and in order, whichever it
// came from. Holds a position and a frame, so a slow reader costs nobody anything: what has left the ring is read from
// the store when its turn comes.
//
// Open and Next may read the store and so block. Not thread-safe: one call at a time; the sleeper may be woken from any
// thread.
class Watch {
 public:
  // The job must be `tenant`'s (NOT_FOUND). A cursor that is none, of another job or beyond the end of this one is
  // INVALID_ARGUMENT.
  static absl::StatusOr<std::unique_ptr<Watch>> Open(const v1::WatchJobRequest& request, const std::string& tenant,
                                                     JobStore& store, TelemetryHub& hub,
                                                     std::shared_ptr<Wakeable> sleeper, WatchOptions options = {});

  // Nothing when there is nothing to send until the sleeper is woken.
  absl::StatusOr<std::optional<WatchFrame>> Next();

  // Whether Next would read the store, as things are now.
  bool ReadsStore() const { return thinned_.has_value() || !follower_.Has(next_); }

 private:
  Watch(const v1::WatchJobRequest& request, JobStore& store, TelemetryHub& hub, std::shared_ptr<Wakeable> sleeper,
        WatchOptions options);

  // Takes entries from next_ on into `frame`. False when the job has no more for now.
  absl::StatusOr<bool> Take(TelemetryHub::View& view, WatchFrame& frame);
  absl::StatusOr<bool> TakeThinned(WatchFrame& frame);
  void Append(EncodedSegment segment, WatchFrame& frame);

  JobStore& store_;
  const WatchOptions options_;
  const v1::WatchFilter filter_;
  const bool filtered_;
  const bool replay_only_;
  TelemetryHub::Follower follower_;

  std::optional<ThinnedReplay> thinned_;  // while what was stored is replayed, where it is to be thinned

  int64_t next_ = 1;            // first sequence not yet taken
  int64_t covered_from_ = 1;    // first sequence no frame has answered for
  int64_t replay_through_ = 0;  // newest when the watch began
  int64_t job_version_ = 0;     // of the job that was sent last
  bool live_ = false;
  bool done_ = false;
};

}  // namespace mantissa::server
