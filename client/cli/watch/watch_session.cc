#include "client/cli/watch/watch_session.h"

#include <algorithm>
#include <poll.h>

#include "absl/strings/str_cat.h"

#include "client/cli/rpc_failure.h"

namespace mantissa::cli {
namespace {

ExitCode CodeOf(v1::Job::State state) { return state == v1::Job::SUCCEEDED ? kExitOk : kExitJobFailed; }

}  // namespace

v1::WatchJobRequest WatchSession::Request() const {
  v1::WatchJobRequest request;
  request.set_job_id(job_id_);
  const std::string& cursor = model_.next_cursor().empty() ? options_.cursor : model_.next_cursor();
  if (!cursor.empty() && !ignore_cursor_) {
    request.set_cursor(cursor);
  } else if (options_.from_now && !ignore_cursor_) {
    request.mutable_now();
  } else {
    request.mutable_beginning();
  }
  request.mutable_filter()->set_events_only(options_.events_only);
  request.set_max_points(options_.max_points);
  return request;
}

void WatchSession::Connect() {
  stream_ = std::make_unique<StreamReader<v1::WatchJobResponse>>(
      [this](grpc::ClientContext* context) { return connection_.jobs().WatchJob(context, Request()); });
}

WatchOutcome WatchSession::Run(const v1::Job& job) {
  job_id_ = job.id();
  model_.SetJob(job);
  const Time begin = console_.clock.Now();
  const Time deadline = options_.timeout ? begin + *options_.timeout : Time::max();
  Connect();
  while (true) {
    const Time now = console_.clock.Now();
    if (stop_.raised()) return Leave(kExitInterrupted, "detached");
    if (now >= deadline) return Leave(kExitTimedOut, "the time to wait is over");
    if (console_.out.failed()) return {kExitError, std::nullopt};  // nobody reads any more
    if (!stream_ && now >= reconnect_.at()) Connect();
    if (stream_) {
      if (std::optional<WatchOutcome> outcome = TakeFrames(now)) return std::move(*outcome);
    }
    Draw(now, false);
    WaitForNews(std::min(deadline, now + kTick));
  }
}

void WatchSession::WaitForNews(Time until) {
  const Time now = console_.clock.Now();
  if (!stream_) until = std::min(until, reconnect_.at());
  if (!waiting_.empty()) until = std::min(until, last_draw_ + kRedraw);
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(std::max(until - now, Time::duration::zero()));
  pollfd descriptors[2] = {{stop_.fd(), POLLIN, 0}, {stream_ ? stream_->fd() : -1, POLLIN, 0}};
  ::poll(descriptors, 2, static_cast<int>(std::min<std::int64_t>(wait.count(), 1000)));
}

std::optional<WatchOutcome> WatchSession::TakeFrames(Time now) {
  const auto batch = stream_->Take();
  for (const v1::WatchJobResponse& frame : batch.frames) {
    reconnect_.Heard();
    ignore_cursor_ = false;
    display_->ShowFrame(frame);
    model_.Apply(frame);
  }
  for (EventLine& event : model_.TakeEvents()) waiting_.push_back(std::move(event));
  if (model_.state().ended) return End();
  if (batch.end) return OnStreamEnd(*batch.end, now);
  return std::nullopt;
}

std::optional<WatchOutcome> WatchSession::OnStreamEnd(const grpc::Status& status, Time now) {
  stream_.reset();
  const RpcFailure failure = DecodeFailure(status);
  if (failure.reason == "CURSOR_EXPIRED" && !ignore_cursor_) {
    // What is still there is told again from its beginning; what was seen already is not told twice.
    waiting_.push_back({{}, v1::JobEvent::WARNING, "the place to go on from is no longer kept; telling all that is"});
    ignore_cursor_ = true;
    reconnect_.AtOnce(now);
    return std::nullopt;
  }
  // A stream that ends well without the job's end was closed by a server that stops.
  if (!status.ok() && !IsTransient(failure)) {
    display_->Close();
    return WatchOutcome{static_cast<ExitCode>(console_.Fail(connection_.Explained(status))), std::nullopt};
  }
  reconnect_.Lost(now, failure.retry_after);
  if (now - *reconnect_.lost_since() >= options_.retry_for) {
    return Leave(kExitUnavailable, absl::StrCat("the server at ", connection_.address(), " stays away"));
  }
  return std::nullopt;
}

void WatchSession::Draw(Time now, bool force) {
  const int width = console_.width();
  if (!force && width == last_width_ && now - last_draw_ < kRedraw) return;
  last_width_ = width;
  last_draw_ = now;
  display_->Show(waiting_, model_.state(), reconnect_.Notice(now, connection_.address(), ", the job is not touched"),
                 now);
  waiting_.clear();
}

WatchOutcome WatchSession::End() {
  Draw(console_.clock.Now(), true);
  display_->Close();
  v1::GetJobRequest request;
  request.set_job_id(job_id_);
  request.set_view(v1::JobView::FULL);
  v1::Job job;
  const absl::Status asked = connection_.Ask(connection_.jobs(), &v1::JobService::Stub::GetJob, request, job);
  // The end is known from the frames; what is missing then is only the result.
  if (!asked.ok()) {
    console_.Fail(asked);
    job.set_id(job_id_);
    job.set_name(model_.state().name);
    job.set_state(model_.state().job_state);
    job.set_reason(model_.state().reason);
    job.set_state_message(model_.state().message);
  }
  return {CodeOf(job.state()), std::move(job)};
}

WatchOutcome WatchSession::Leave(ExitCode code, const std::string& why) {
  Draw(console_.clock.Now(), true);
  display_->Close();
  const std::string tail = job_id_ + options_.address_flag;
  console_.Note(absl::StrCat(why, "; the job goes on\n  watch it again: mantissa watch ", tail,
                             "\n  cancel it:      mantissa cancel ", tail));
  return {code, std::nullopt};
}

}  // namespace mantissa::cli
