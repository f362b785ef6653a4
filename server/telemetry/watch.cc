#include "server/telemetry/watch.h"

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/telemetry/cursor.h"
#include "server/telemetry/watch_filter.h"

namespace mantissa::server {

Watch::Watch(const v1::WatchJobRequest& request, JobStore& store, TelemetryHub& hub, std::shared_ptr<Wakeable> sleeper,
             WatchOptions options)
    : store_(store),
      options_(options),
      filter_(request.filter()),
      filtered_(!PassesEverything(request.filter())),
      replay_only_(request.replay_only()),
      follower_(hub, request.job_id(), std::move(sleeper)) {}

absl::StatusOr<std::unique_ptr<Watch>> Watch::Open(const v1::WatchJobRequest& request, const std::string& tenant,
                                                   JobStore& store, TelemetryHub& hub,
                                                   std::shared_ptr<Wakeable> sleeper, WatchOptions options) {
  int64_t from = 1;
  if (request.from_case() == v1::WatchJobRequest::kCursor) {
    absl::StatusOr<int64_t> decoded = DecodeCursor(request.cursor(), request.job_id());
    if (!decoded.ok()) return decoded.status();
    from = *decoded;
  }
  // In this order: a commit is either in what is read now or heard by the follower, and when the job is seen to have
  // ended, the newest sequence read after it is its last.
  std::unique_ptr<Watch> watch(new Watch(request, store, hub, std::move(sleeper), options));
  absl::StatusOr<v1::Job> job = store.GetJob(request.job_id(), tenant);
  if (!job.ok()) return job.status();
  absl::StatusOr<TelemetryPage> newest =
      store.ReadTelemetry(request.job_id(), std::numeric_limits<int64_t>::max(), /*max_bytes=*/0);
  if (!newest.ok()) return newest.status();
  watch->follower_.Learn(*job, newest->last_sequence);
  watch->replay_through_ = newest->last_sequence;
  if (request.from_case() == v1::WatchJobRequest::kNow) from = newest->last_sequence + 1;
  if (from > newest->last_sequence + 1) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, "CURSOR_INVALID",
                           "cursor: lies beyond the newest entry of the job, " + std::to_string(newest->last_sequence) +
                               "; leave it out to start from the beginning");
  }
  watch->next_ = watch->covered_from_ = from;
  if (!request.filter().events_only()) {
    const StoredRange range{from, watch->replay_through_};
    absl::StatusOr<std::optional<ThinningPlan>> plan = PlanReplay(store, request.job_id(), range, request.max_points());
    if (!plan.ok()) return plan.status();
    if (plan->has_value()) {
      for (const int column : request.filter().columns()) {
        (*plan)->columns.push_back(static_cast<v1::Column::Standard>(column));
      }
      watch->thinned_.emplace(store, request.job_id(), range, **std::move(plan), ThinnedReplay::Options{});
    }
  }
  return watch;
}

void Watch::Append(EncodedSegment segment, WatchFrame& frame) {
  next_ = segment.to + 1;
  if (filtered_ && segment.records) {
    if (filter_.events_only()) return;
    v1::WatchJobResponse parsed;
    if (!parsed.ParseFromString(*segment.frame) || !ApplyFilter(filter_, *parsed.mutable_segments(0))) return;
    segment = EncodeSegment(parsed.segments(0));
  }
  frame.rows += segment.to - segment.from + 1;
  frame.segments.push_back(std::move(segment.frame));
}

absl::StatusOr<bool> Watch::TakeThinned(WatchFrame& frame) {
  absl::StatusOr<std::vector<v1::Segment>> segments = thinned_->Next();
  if (!segments.ok()) return segments.status();
  for (const v1::Segment& segment : *segments) {
    frame.rows += segment.count();
    frame.segments.push_back(EncodeSegment(segment).frame);
  }
  next_ = thinned_->next();
  if (thinned_->done()) thinned_.reset();
  return true;
}

absl::StatusOr<bool> Watch::Take(TelemetryHub::View& view, WatchFrame& frame) {
  if (thinned_) {
    view = follower_.Look(next_, 0, 0);
    return TakeThinned(frame);
  }
  view = follower_.Look(next_, static_cast<int>(options_.frame_rows), options_.frame_bytes);
  if (next_ > view.last) return false;
  if (view.segments.empty()) {
    absl::StatusOr<TelemetryPage> page = store_.ReadTelemetry(follower_.job_id(), next_, options_.stored_frame_bytes);
    if (!page.ok()) return page.status();
    // Of what a chunk holds only what this frame may take, and so is worth encoding.
    int64_t rows = 0, bytes = 0;
    for (const v1::Segment& segment : page->segments) {
      rows += segment.count();
      bytes += static_cast<int64_t>(segment.ByteSizeLong());
      if (!view.segments.empty() && (rows > options_.frame_rows || bytes > options_.stored_frame_bytes)) break;
      view.segments.push_back(EncodeSegment(segment));
    }
    if (view.segments.empty() || view.segments.front().from != next_) {
      return absl::InternalError(
          absl::StrCat("job ", follower_.job_id(), " has no stored entry ", next_, " of ", view.last));
    }
  }
  for (EncodedSegment& segment : view.segments) {
    if (!frame.segments.empty() && frame.rows + segment.to - segment.from + 1 > options_.frame_rows) break;
    Append(std::move(segment), frame);
  }
  return true;
}

absl::StatusOr<std::optional<WatchFrame>> Watch::Next() {
  if (done_) return std::nullopt;
  WatchFrame frame;
  TelemetryHub::View view;
  bool more = true;
  // What a filter leaves out is answered for in bulk, not by a frame for each commit.
  while (more && frame.segments.empty() && next_ - covered_from_ < options_.frame_rows) {
    absl::StatusOr<bool> taken = Take(view, frame);
    if (!taken.ok()) return taken.status();
    more = *taken;
  }

  const bool caught_up = next_ > view.last;
  const bool became_live = !live_ && next_ > replay_through_;
  live_ = live_ || became_live;
  const bool end = caught_up && view.job && HasEnded(view.job->state());
  const bool job_changed = view.job_version != job_version_;
  done_ = end || (replay_only_ && live_);
  if (frame.segments.empty() && !became_live && !end && !job_changed && !done_ &&
      next_ - covered_from_ < options_.frame_rows) {
    return std::nullopt;
  }

  if (next_ > covered_from_) {
    frame.rest.mutable_covers()->set_from(covered_from_);
    frame.rest.mutable_covers()->set_to(next_ - 1);
  }
  covered_from_ = next_;
  frame.rest.set_next_cursor(EncodeCursor(follower_.job_id(), next_));
  if (job_changed || end) *frame.rest.mutable_job() = *view.job;
  job_version_ = view.job_version;
  frame.rest.set_live(live_);
  frame.rest.set_end(end);
  frame.last = done_;
  return frame;
}

}  // namespace mantissa::server
