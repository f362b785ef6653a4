#include "worker/agent/pilot.h"

#include <charconv>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "process/text_value.h"

namespace mantissa::agent {
namespace {

using process::FormatDuration;

constexpr char kSlurmEnd[] = "SLURM_JOB_END_TIME";
constexpr std::chrono::hours kMostAhead{24 * 3'650};

// Seconds since 1970.
std::optional<std::int64_t> ParseInstant(const std::string& text) {
  std::int64_t seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [read_to, error] = std::from_chars(text.data(), end, seconds);
  if (error == std::errc() && read_to == end) return seconds;
  google::protobuf::Timestamp instant;
  if (!google::protobuf::util::TimeUtil::FromString(text, &instant)) return std::nullopt;
  return instant.seconds();
}

}  // namespace

Pilot::Leave Pilot::Decide(bool busy, bool ready, process::SteadyTime now) {
  if (busy || (ready && !was_ready_)) idle_since_ = now;
  was_ready_ = was_ready_ || busy || ready;
  if (options_.end && now >= *options_.end - options_.margin) return Leave::kBeforeTheEnd;
  if (was_ready_) return now < idle_since_ + options_.idle ? Leave::kNo : Leave::kIdle;
  return now < idle_since_ + options_.start + options_.idle ? Leave::kNo : Leave::kNeverReady;
}

absl::StatusOr<std::optional<PilotOptions>> PreparePilot(const WorkerSettings& settings,
                                                         const process::Environment& environment,
                                                         process::SteadyTime now, process::WallTime wall_now) {
  if (!settings.pilot) {
    if (settings.pilot_end.empty()) return std::nullopt;
    return absl::InvalidArgumentError("--pilot-end: says nothing without --pilot; give both or neither");
  }
  PilotOptions options;
  options.margin = settings.pilot_margin;
  options.idle = settings.pilot_idle;
  if (options.idle <= std::chrono::milliseconds(0)) {
    return absl::InvalidArgumentError(
        "--pilot-idle: must be more than 0, for example 60s: work takes a moment to come");
  }
  if (options.margin < settings.drain_grace) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pilot-margin: ", FormatDuration(options.margin), " is less than --drain-grace (",
                     FormatDuration(settings.drain_grace), "), which running jobs may take to be saved; use at least ",
                     FormatDuration(settings.drain_grace)));
  }
  const bool given = !settings.pilot_end.empty();
  const std::string text = given ? settings.pilot_end : environment(kSlurmEnd).value_or("");
  if (text.empty()) return options;
  const std::string name = given ? "--pilot-end" : kSlurmEnd;
  const std::optional<std::int64_t> end = ParseInstant(text);
  // A clock that is stepped later does not move the end: from here on time is counted, not read.
  const std::int64_t wall_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(wall_now.time_since_epoch()).count();
  if (!end || *end < 0 || *end - wall_seconds > std::chrono::seconds(kMostAhead).count()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": '", text,
                                                   "' must be seconds since 1970, or an instant such as "
                                                   "2026-11-27T21:50:00Z, within ten years"));
  }
  const std::chrono::seconds left(*end - wall_seconds);
  if (left <= options.margin) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", left.count(), " s are left, and --pilot-margin keeps ", FormatDuration(options.margin),
                     " of them: no time to work in; ask for a longer allocation, or a smaller --pilot-margin"));
  }
  options.end = now + left;
  return options;
}

}  // namespace mantissa::agent
