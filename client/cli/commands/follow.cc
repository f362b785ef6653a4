#include "client/cli/commands/follow.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/job_reference.h"
#include "client/cli/watch/watch_display.h"

namespace mantissa::cli {
namespace {

// Several for each column of the widest terminal: the block shows the course of the run, and events come whole.
constexpr std::int32_t kPicturePoints = 2'000;

absl::StatusOr<v1::Job> FullJob(const Context& context, const std::string& reference) {
  absl::StatusOr<v1::Job> found = FindJob(context.connection, reference);
  if (!found.ok()) return found;
  v1::GetJobRequest request;
  request.set_job_id(found->id());
  request.set_view(v1::JobView::FULL);
  v1::Job job;
  const absl::Status asked =
      context.connection.Ask(context.connection.jobs(), &v1::JobService::Stub::GetJob, request, job);
  if (!asked.ok()) return asked;
  return job;
}

// The block needs a terminal for itself: with either stream elsewhere, lines are what can be read afterwards.
std::unique_ptr<WatchDisplay> DisplayFor(const Console& console, Output& events) {
  if (console.out_look.terminal && console.err_look.terminal) return std::make_unique<TerminalDisplay>(console);
  return std::make_unique<LineDisplay>(console, events);
}

WatchOptions OptionsOf(const Context& context, const FollowOptions& options) {
  return {.from_now = options.from_now,
          .cursor = options.cursor,
          .max_points = options.max_points.value_or(IsStructured(context.format) ? 0 : kPicturePoints),
          .retry_for = options.retry_for,
          .timeout = options.timeout,
          .address_flag = context.address_flag};
}

void PrintEnd(const Context& context, const v1::Job& job) {
  const Console& console = context.console;
  if (IsStructured(context.format)) return PrintJson(console, context.format, ToJson(job));
  if (context.format == OutputFormat::kName) return console.out.Write(job.id() + "\n");
  const ViewOptions view = {.width = console.out_look.terminal ? console.width() : 1 << 20,
                            .color = console.out_look.color,
                            .utf8 = console.utf8};
  console.out.Write(absl::StrCat(absl::StrJoin(RenderSummary(job, view, context.address_flag), "\n"), "\n"));
}

}  // namespace

int Watch(const Context& context, const FollowOptions& options) {
  const absl::StatusOr<v1::Job> job = FullJob(context, options.job);
  if (!job.ok()) return context.console.Fail(job.status());
  const bool frames = IsStructured(context.format);
  WatchSession session(context.connection, context.console, OptionsOf(context, options),
                       frames ? std::make_unique<FrameDisplay>(context.console, context.format)
                              : DisplayFor(context.console, context.console.out));
  const WatchOutcome outcome = session.Run(*job);
  if (outcome.job && !frames) PrintEnd(context, *outcome.job);
  return outcome.code;
}

int Wait(const Context& context, const FollowOptions& options) {
  const absl::StatusOr<v1::Job> job = FullJob(context, options.job);
  if (!job.ok()) return context.console.Fail(job.status());
  WatchOptions watch = OptionsOf(context, options);
  watch.from_now = true;
  watch.events_only = true;
  WatchSession session(context.connection, context.console, std::move(watch),
                       std::make_unique<SilentDisplay>(context.console));
  const WatchOutcome outcome = session.Run(*job);
  if (outcome.job) PrintEnd(context, *outcome.job);
  return outcome.code;
}

int WatchSubmitted(const Context& context, const v1::Job& job, std::chrono::milliseconds retry_for) {
  const bool structured = context.format != OutputFormat::kTable;
  FollowOptions options;
  options.retry_for = retry_for;
  WatchSession session(context.connection, context.console, OptionsOf(context, options),
                       structured ? std::make_unique<LineDisplay>(context.console, context.console.err)
                                  : DisplayFor(context.console, context.console.out));
  const WatchOutcome outcome = session.Run(job);
  if (outcome.job) PrintEnd(context, *outcome.job);
  return outcome.code;
}

}  // namespace mantissa::cli
