#include "client/cli/top/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/top/styled_table.h"
#include "client/cli/watch/watch_view.h"

namespace mantissa::cli {
namespace {

using v1::Job;

// Of an id so much is shown that the jobs in the picture differ; never less than what tells the millisecond.
constexpr std::size_t kLeastId = 10;
constexpr int kLeastName = 16;

std::string NameOf(const Job& job) { return Clip(ForTerminal(JobName(job)), 28); }

// Beginnings of ids, which commands take for the whole.
class ShortIds {
 public:
  explicit ShortIds(const TopState& state) {
    std::vector<const std::string*> ids;
    for (const RunningJob& running : state.running) ids.push_back(&running.job.id());
    for (const Job& job : state.waiting) ids.push_back(&job.id());
    for (const Job& job : state.ended) ids.push_back(&job.id());
    std::sort(ids.begin(), ids.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
    for (std::size_t i = 1; i < ids.size(); ++i) {
      const auto [end, other] = std::mismatch(ids[i]->begin(), ids[i]->end(), ids[i - 1]->begin(), ids[i - 1]->end());
      length_ = std::max(length_, static_cast<std::size_t>(end - ids[i]->begin()) + 1);
    }
  }
  std::string Of(const Job& job) const { return job.id().substr(0, length_); }

 private:
  std::size_t length_ = kLeastId;
};

StyledLine Head(const TopState& state) {
  std::vector<std::string> counts;
  for (const Job::State is : LiveStates()) {
    const auto count = state.live.find(is);
    if (count == state.live.end()) continue;
    counts.push_back(absl::StrCat(GroupedCount(count->second), " ", absl::AsciiStrToLower(Job::State_Name(is))));
  }
  StyledLine line;
  line.Add(0, {{"mantissa ", Style::kBold}, {ForTerminal(state.address)}});
  line.Add(0, {{counts.empty() ? "no job runs or waits" : absl::StrJoin(counts, ", "),
                state.live.count(Job::RUNNING) > 0 ? Style::kGood : Style::kPlain}});
  if (state.ended_in_last_minute) {
    line.Add(1, {{absl::StrCat(GroupedCount(*state.ended_in_last_minute), " ended in the last minute")}});
  }
  google::protobuf::Timestamp now;
  now.set_seconds(std::chrono::duration_cast<std::chrono::seconds>(state.now.time_since_epoch()).count());
  line.Add(2, {{LocalClock(now), Style::kDim}});
  return line;
}

// Devices of a worker that differ in nothing but their number: a job does not say which of them it is on.
struct Alike {
  std::vector<const v1::Device*> devices;

  bool Takes(const v1::Device& device) const {
    const v1::Device& first = *devices.front();
    return device.kind() == first.kind() && device.model() == first.model() &&
           device.memory_bytes() == first.memory_bytes();
  }
  // `on`: a device's id until the trainer has called it what it calls it, `cpu` or the GPU's model.
  bool Has(const std::string& on) const {
    const v1::Device& first = *devices.front();
    if (on == first.model() || (on == "cpu" && first.kind() == v1::Device::CPU)) return true;
    return std::any_of(devices.begin(), devices.end(), [&](const v1::Device* device) { return device->id() == on; });
  }
  std::string Text() const {
    const std::string& id = devices.front()->id();
    return devices.size() == 1 ? id : absl::StrCat(devices.size(), " × ", id.substr(0, id.rfind('-')));
  }
};

std::vector<Alike> DevicesOf(const v1::Worker& worker) {
  std::vector<Alike> groups;
  for (const v1::Device& device : worker.devices()) {
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const Alike& known) { return known.Takes(device); });
    (group == groups.end() ? groups.emplace_back() : *group).devices.push_back(&device);
  }
  return groups;
}

Cell DeviceState(const v1::Worker& worker, std::size_t busy, std::size_t devices, const TopState& state) {
  if (!worker.connected()) return {absl::StrCat("away ", AgeText(worker.last_seen_time(), state.now)), Style::kBad};
  if (worker.draining()) {
    const bool done = worker.attempts_size() == 0 && worker.drain_requested();
    return {done ? "drained" : "draining", Style::kWarn};
  }
  if (busy == 0) return {"idle", Style::kDim};
  return {busy >= devices ? "busy" : absl::StrCat(busy, " of ", devices, " busy"), Style::kGood};
}

StyledTable Devices(const TopState& state) {
  std::map<std::string, std::vector<const Job*>> jobs;  // by worker
  for (const RunningJob& running : state.running) jobs[running.job.progress().worker_id()].push_back(&running.job);
  StyledTable table({{.heading = "WORKER"},
                     {.heading = "DEVICE", .rank = 1},
                     {.heading = "MODEL", .rank = 3, .least = 12},
                     {.heading = "MEMORY", .rank = 2, .right = true},
                     {.heading = "STATE"},
                     {.heading = "RUNS", .least = 10}});
  for (const v1::Worker& worker : state.workers) {
    const std::vector<Alike> groups = DevicesOf(worker);
    for (const Alike& group : groups) {
      std::vector<std::string> runs;
      for (const Job* job : jobs[worker.id()]) {
        if (groups.size() == 1 || group.Has(job->progress().device())) runs.push_back(NameOf(*job));
      }
      const v1::Device& first = *group.devices.front();
      table.Add({worker.id(),
                 group.Text(),
                 first.model(),
                 first.memory_bytes() > 0 ? SizeText(first.memory_bytes()) : "",
                 DeviceState(worker, runs.size(), group.devices.size(), state),
                 {runs.empty() ? "-" : absl::StrJoin(runs, ", ")}});
    }
    if (groups.empty()) table.Add({worker.id(), "-", "", "", DeviceState(worker, 0, 0, state), "-"});
  }
  return table;
}

// How its precision fares, once that is known; until then, and while it comes and goes, how its life does.
Cell LifeOf(const Job& job) {
  using Stats = v1::PrecisionStats;
  const Stats::Verdict verdict = job.progress().precision().verdict();
  if (job.state() != Job::RUNNING || (verdict != Stats::STABLE && verdict != Stats::UNSTABLE)) {
    return {Job::State_Name(job.state()), StyleOf(job.state())};
  }
  return {Stats::Verdict_Name(verdict), verdict == Stats::STABLE ? Style::kGood : Style::kBad};
}

std::string LeftText(double seconds) {
  return ClockSpan(std::chrono::seconds(static_cast<std::int64_t>(std::min(std::ceil(seconds), 1e9))));
}

StyledTable Running(const TopState& state, const ShortIds& ids) {
  StyledTable table({{.heading = "RUNNING", .least = kLeastName},
                     {.heading = "ID", .rank = 8},
                     {.heading = "STATE", .rank = 2},
                     {.heading = "ITERATION", .right = true},
                     {.heading = "", .rank = 4},
                     {.heading = "", .rank = 5, .right = true},
                     {.heading = "LOSS", .rank = 1, .right = true},
                     {.heading = "SCALE", .rank = 3, .right = true},
                     {.heading = "SKIPPED", .rank = 3, .right = true},
                     {.heading = "SAMPLES/S", .rank = 7, .right = true},
                     {.heading = "LEFT", .rank = 2, .right = true},
                     {.heading = "WORKER", .rank = 6},
                     {.heading = "DEVICE", .rank = 9, .least = 6}});
  for (const RunningJob& running : state.running) {
    const Job& job = running.job;
    const v1::JobProgress& progress = job.progress();
    const bool known = progress.total_iterations() > 0;
    const double done = known ? static_cast<double>(progress.iteration()) / progress.total_iterations() : 0;
    const double skipped =
        progress.iteration() > 0 ? static_cast<double>(progress.skipped_iterations()) / progress.iteration() : 0;
    const bool finite = std::isfinite(progress.loss());
    table.Add({{NameOf(job), Style::kBold},
               ids.Of(job),
               LifeOf(job),
               known ? absl::StrCat(progress.iteration(), "/", progress.total_iterations())
                     : std::to_string(progress.iteration()),
               known ? Cell::BarOf(done) : Cell(),
               known ? absl::StrCat(static_cast<int>(100 * std::clamp(done, 0.0, 1.0)), " %") : "",
               progress.has_loss() ? Cell(ShortNumber(progress.loss()), finite ? Style::kPlain : Style::kBad) : Cell(),
               progress.has_loss_scale() ? ScaleText(progress.loss_scale()) : "",
               progress.iteration() > 0 ? Cell(Percent(skipped), skipped > 0 ? Style::kWarn : Style::kPlain) : Cell(),
               progress.has_samples_per_second() ? CompactCount(progress.samples_per_second()) : "",
               running.seconds_left ? LeftText(*running.seconds_left) : "",
               progress.worker_id(),
               progress.device()});
  }
  return table;
}

std::string WhyText(const Job& job) {
  if (!job.state_message().empty()) return job.state_message();
  return job.reason() == v1::Reason::REASON_UNSPECIFIED ? "" : v1::Reason::Code_Name(job.reason());
}

StyledTable Waiting(const TopState& state, const ShortIds& ids) {
  StyledTable table({{.heading = "WAITING", .least = kLeastName},
                     {.heading = "ID", .rank = 2},
                     {.heading = "STATE", .rank = 1},
                     {.heading = "SINCE", .right = true},
                     {.heading = "WHY", .least = 20}});
  for (const Job& job : state.waiting) {
    table.Add({{NameOf(job), Style::kBold},
               ids.Of(job),
               {Job::State_Name(job.state()), Style::kWarn},
               AgeText(job.state_time(), state.now),
               WhyText(job)});
  }
  return table;
}

StyledTable Ended(const TopState& state, const ShortIds& ids) {
  StyledTable table({{.heading = "ENDED", .least = kLeastName},
                     {.heading = "ID", .rank = 2},
                     {.heading = "STATE"},
                     {.heading = "WHEN", .rank = 1, .right = true},
                     {.heading = "RESULT", .least = 20}});
  for (const Job& job : state.ended) {
    std::string result = job.state() == Job::SUCCEEDED ? ResultText(job.result()) : "";
    if (result.empty()) {
      result = WhyText(job);
      if (job.state() == Job::FAILED && !job.state_message().empty()) {
        result = absl::StrCat(v1::Reason::Code_Name(job.reason()), ": ", result);
      }
    }
    table.Add({{NameOf(job), Style::kBold},
               ids.Of(job),
               {Job::State_Name(job.state()), StyleOf(job.state())},
               absl::StrCat(AgeText(job.end_time(), state.now), " ago"),
               result});
  }
  return table;
}

// Lines below its headings that each table gets of `room`: three each where there are so many rows, then what is left
// in the order of `first`.
std::array<std::size_t, 4> Share(const std::array<std::size_t, 4>& rows, std::size_t room,
                                 const std::array<std::size_t, 4>& first) {
  std::array<std::size_t, 4> lines = {};
  for (const std::size_t most : {std::size_t{3}, std::numeric_limits<std::size_t>::max()}) {
    for (const std::size_t table : first) {
      const std::size_t more = std::min(room, std::min(rows[table], most) - lines[table]);
      lines[table] += more;
      room -= more;
    }
  }
  return lines;
}

}  // namespace

std::vector<std::string> RenderTop(const TopState& state, const ViewOptions& options, int height,
                                   const std::optional<std::string>& notice) {
  std::vector<std::string> lines = {Head(state).Text(options)};
  if (notice) {
    StyledLine line;
    line.Add(0, {{*notice, Style::kWarn}});
    lines.push_back(line.Text(options));
  }
  if (state.workers.empty()) {
    StyledLine line;
    line.Add(0, {{"no worker has connected yet; start one with `mantissa-worker`", Style::kWarn}});
    lines.push_back(line.Text(options));
  }
  const ShortIds ids(state);
  const std::array<StyledTable, 4> tables = {Devices(state), Running(state, ids), Waiting(state, ids),
                                             Ended(state, ids)};
  std::array<std::size_t, 4> rows = {};
  std::size_t taken = lines.size();
  for (std::size_t t = 0; t < tables.size(); ++t) {
    rows[t] = tables[t].rows();
    taken += rows[t] > 0 ? 2 : 0;  // an empty line and the headings
  }
  const std::size_t all = std::numeric_limits<std::size_t>::max() / 2;
  const std::size_t room = height <= 0 ? all : static_cast<std::size_t>(height) - std::min<std::size_t>(height, taken);
  const std::array<std::size_t, 4> most = Share(rows, room, /*first=*/{1, 0, 2, 3});
  for (std::size_t t = 0; t < tables.size(); ++t) {
    if (rows[t] == 0 || most[t] == 0) continue;
    lines.emplace_back();
    for (std::string& line : tables[t].Lines(options, most[t])) lines.push_back(std::move(line));
  }
  if (height > 0 && lines.size() > static_cast<std::size_t>(height)) lines.resize(static_cast<std::size_t>(height));
  return lines;
}

}  // namespace mantissa::cli
