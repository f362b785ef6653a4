#include "client/cli/top/top_session.h"

#include <algorithm>
#include <optional>
#include <poll.h>
#include <string>

#include "client/cli/rpc_failure.h"
#include "client/cli/top/top_view.h"

namespace mantissa::cli {
namespace {

// No terminal has more lines.
constexpr std::size_t kMostRows = 1000;
// A page of what has ended: newest by submit, so more than are shown, to have those that ended last among them.
constexpr int kEndedJobs = 100;

}  // namespace

v1::JobFilter LiveJobs() {
  v1::JobFilter filter;
  for (const v1::Job::State state : LiveStates()) filter.add_states(state);
  return filter;
}

v1::ListJobsRequest EndedJobs() {
  v1::ListJobsRequest request;
  for (const v1::Job::State state : EndStates()) request.mutable_filter()->add_states(state);
  request.set_page_size(kEndedJobs);
  return request;
}

v1::ListWorkersRequest AllWorkers() {
  v1::ListWorkersRequest request;
  request.set_page_size(1000);
  return request;
}

TopSession::TopSession(Connection& connection, const Console& console, const v1::ListWorkersResponse& workers)
    : connection_(connection), console_(console), model_(connection.address()) {
  model_.SetWorkers(workers);
  ask_workers_at_ = console_.clock.Now() + kAskWorkers;
}

void TopSession::Connect() {
  model_.BeginAnew();
  stream_ = std::make_unique<StreamReader<v1::WatchJobsResponse>>([this](grpc::ClientContext* context) {
    v1::WatchJobsRequest request;
    *request.mutable_filter() = LiveJobs();
    return connection_.jobs().WatchJobs(context, request);
  });
  ended_.reset();
  ended_ = std::make_unique<PendingCall<v1::ListJobsRequest, v1::ListJobsResponse>>(
      EndedJobs(),
      [this](grpc::ClientContext* context, const v1::ListJobsRequest* request, v1::ListJobsResponse* response,
             auto done) { connection_.jobs().async()->ListJobs(context, request, response, std::move(done)); },
      connection_.rpc_timeout());
}

void TopSession::AskWorkers() {
  workers_ = std::make_unique<PendingCall<v1::ListWorkersRequest, v1::ListWorkersResponse>>(
      AllWorkers(),
      [this](grpc::ClientContext* context, const v1::ListWorkersRequest* request, v1::ListWorkersResponse* response,
             auto done) { connection_.admin().async()->ListWorkers(context, request, response, std::move(done)); },
      connection_.rpc_timeout());
}

int TopSession::Run() {
  screen_ = std::make_unique<Screen>(console_);
  Connect();
  while (true) {
    const Time now = console_.clock.Now();
    if (console_.out.failed()) return kExitError;  // nobody reads any more
    if (!stream_ && now >= reconnect_.at()) Connect();
    const absl::Status watched = TakeFrames(now);
    if (!watched.ok()) {
      screen_.reset();
      return console_.Fail(watched);
    }
    TakeAnswers(now);
    Draw(now);
    if (WaitForNews()) return kExitOk;
    if (stop_.raised()) return kExitInterrupted;
  }
}

absl::Status TopSession::TakeFrames(Time now) {
  if (!stream_) return absl::OkStatus();
  const auto batch = stream_->Take();
  for (const v1::WatchJobsResponse& frame : batch.frames) {
    reconnect_.Heard();
    news_ = true;
    model_.Apply(frame, console_.clock.WallNow());
  }
  if (!batch.end) return absl::OkStatus();
  stream_.reset();
  const RpcFailure failure = DecodeFailure(*batch.end);
  if (!batch.end->ok() && !IsTransient(failure)) return connection_.Explained(*batch.end);
  news_ = true;
  reconnect_.Lost(now, failure.retry_after);
  return absl::OkStatus();
}

void TopSession::TakeAnswers(Time now) {
  if (ended_) {
    if (const std::optional<grpc::Status> status = ended_->status()) {
      if (status->ok()) model_.AddListed(ended_->response());
      ended_.reset();
      news_ = true;
    }
  }
  if (workers_) {
    if (const std::optional<grpc::Status> status = workers_->status()) {
      if (status->ok()) model_.SetWorkers(workers_->response());
      workers_.reset();
      ask_workers_at_ = now + kAskWorkers;
      news_ = true;
    }
  } else if (now >= ask_workers_at_) {
    AskWorkers();
  }
}

void TopSession::Draw(Time now) {
  if (now - last_draw_ < (news_ ? kRedraw : kTick)) return;
  last_draw_ = now;
  news_ = false;
  const ViewOptions options = {.width = screen_->width(), .color = console_.out_look.color, .utf8 = console_.utf8};
  screen_->Show(RenderTop(model_.State(console_.clock.WallNow(), kMostRows), options, screen_->height(),
                          reconnect_.Notice(now, connection_.address(), ", this is what was last known")));
}

bool TopSession::WaitForNews() {
  const Time now = console_.clock.Now();
  Time until = last_draw_ + (news_ ? kRedraw : kTick);
  if (!stream_) until = std::min(until, reconnect_.at());
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(std::max(until - now, Time::duration::zero()));
  pollfd descriptors[] = {{stop_.fd(), POLLIN, 0},
                          {screen_->keys_fd(), POLLIN, 0},
                          {stream_ ? stream_->fd() : -1, POLLIN, 0},
                          {ended_ ? ended_->fd() : -1, POLLIN, 0},
                          {workers_ ? workers_->fd() : -1, POLLIN, 0}};
  ::poll(descriptors, std::size(descriptors), static_cast<int>(wait.count()));
  return descriptors[1].revents != 0 && screen_->TakeKeys().find_first_of("qQ") != std::string::npos;
}

}  // namespace mantissa::cli
