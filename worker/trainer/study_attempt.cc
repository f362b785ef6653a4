#include "worker/trainer/study_attempt.h"

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <google/protobuf/util/time_util.h>
#include <torch/headeronly/version.h>

#include "proto/spec/defaults.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/studies/study.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/guarded.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/report/run_events.h"
#include "worker/trainer/report/telemetry_sink.h"

namespace mantissa::trainer {
namespace {

constexpr std::chrono::milliseconds kTick(50);

// A case may take longer than timeouts.stall, and only what is written tells the server that a study goes on. So that
// nothing but a study that hangs is silent for that long, three words fit in it.
std::chrono::milliseconds LongestSilence(const v1::JobSpec& spec) {
  const v1::TimeoutSpec timeouts = spec::ResolveDefaults(spec).timeouts();
  return std::chrono::milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(timeouts.stall())) / 3;
}

// Tells the agent of each case, and the study of a stop. Lives as long as one attempt.
class AttemptObserver final : public StudyObserver {
 public:
  AttemptObserver(const v1::RunAttempt& run, std::int32_t threads, const AttemptEnvironment& env, TelemetrySink& sink)
      : run_(run),
        threads_(threads),
        env_(env),
        sink_(sink),
        longest_silence_(LongestSilence(run.spec())),
        spoke_at_(env.clock.Now()) {}

  bool stop_requested() override {
    // A study that asks before it knows how many cases there are has begun, too.
    Announce(0);
    if (const process::SteadyTime now = env_.clock.Now(); now >= next_tick_) {
      next_tick_ = now + kTick;
      if (now - spoke_at_ >= longest_silence_) SayItGoesOn(now);
      sink_.Tick(now);
    }
    stopped_ = stopped_ || env_.control.stop_requested();
    return stopped_;
  }

  void Done(std::int32_t done, std::int32_t total, const std::string& what) override {
    Announce(total);
    if (total != total_) Start(total);
    if (done == 0) return;
    done_ = done;
    sink_.Advance(done);
    Say("STUDY_CASE", what, env_.clock.Now());
    sink_.Heartbeat(nullptr);
  }

  std::int32_t done() const { return done_; }
  std::int32_t total() const { return total_; }
  bool stopped() const { return stopped_; }

 private:
  void Announce(std::int32_t total) {
    if (announced_) return;
    announced_ = true;
    v1::TrainerReport report;
    report.mutable_started()->set_job_id(run_.job_id());
    report.mutable_started()->set_attempt(run_.attempt());
    report.mutable_started()->set_total_iterations(total);
    env_.channel.Send(report);
  }

  void Start(std::int32_t total) {
    total_ = total;
    v1::TrainingStarted started;
    started.set_device(env_.device_name);
    started.set_threads(threads_);
    started.set_total_iterations(total);
    started.set_torch_version(TORCH_VERSION);
    started.set_cpu_capability(CpuCapability());
    sink_.Write(StartedEvent(WallNanos(), started));
  }

  void SayItGoesOn(process::SteadyTime now) {
    Say("STUDY_GOES_ON", absl::StrCat(done_, " of ", total_, " cases are done; the next one takes its time"), now);
  }

  void Say(const std::string& reason, const std::string& what, process::SteadyTime now) {
    v1::JobEvent event = MakeEvent(WallNanos(), v1::JobEvent::INFO, reason, what);
    event.set_iteration(done_);
    sink_.Write(std::move(event));
    spoke_at_ = now;
  }

  std::int64_t WallNanos() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(env_.clock.WallNow().time_since_epoch()).count();
  }

  const v1::RunAttempt& run_;
  const std::int32_t threads_;
  const AttemptEnvironment& env_;
  TelemetrySink& sink_;
  const std::chrono::milliseconds longest_silence_;
  process::SteadyTime spoke_at_;
  bool announced_ = false;
  bool stopped_ = false;  // once asked for, whatever the control says later
  std::int32_t done_ = 0;
  std::int32_t total_ = 0;
  process::SteadyTime next_tick_;
};

StudyEnvironment EnvironmentOf(const v1::JobSpec& spec, const AttemptEnvironment& env) {
  return {.device = env.device,
          .device_name = env.device_name,
          .precisions = env.precisions,
          .threads = env.threads,
          .memory_limit_bytes = env.memory_limit_bytes,
          .roots = env.roots,
          .clock = env.clock,
          .asked_threads = spec.resources().cpu_threads()};
}

void EndWell(const AttemptObserver& observer, const AttemptEnvironment& env, v1::Report report,
             v1::AttemptEnded& ended) {
  const std::string cases = absl::StrCat(observer.done(), " of ", observer.total(), " cases");
  if (observer.stopped() && report.partial()) {
    ended.set_state(v1::Attempt::CANCELLED);
    ended.set_message(absl::StrCat("stopped after ", cases, "; a study keeps no checkpoint and would begin anew"));
  } else {
    ended.set_state(v1::Attempt::SUCCEEDED);
    ended.set_reason(v1::Reason::COMPLETED);
    ended.set_message(absl::StrCat("ran ", cases));
  }
  v1::JobResult& result = *ended.mutable_result();
  result.set_iterations(observer.done());
  result.set_finding(report.finding());
  *result.mutable_training_time() = report.elapsed();
  result.set_peak_memory_bytes(PeakMemory(env.device));
  *ended.mutable_report() = std::move(report);
}

}  // namespace

v1::AttemptEnded RunStudyAttempt(const v1::RunAttempt& run, const v1::JobSpec& spec,
                                 const AttemptEnvironment& environment) {
  TelemetrySinkOptions options;
  options.attempt = run.attempt();
  TelemetrySink sink(environment.channel, options);
  const StudyEnvironment study = EnvironmentOf(spec, environment);
  const std::int32_t threads = study.asked_threads > 0 ? study.asked_threads : study.threads;
  AttemptObserver observer(run, threads, environment, sink);
  v1::Report report;
  absl::Status ran = CheckSpec(spec);
  if (ran.ok()) {
    ran = Guarded("study", environment.device_name, [&] {
      ResetProcess({.threads = threads});
      ResetPeakMemory(environment.device);
      return RunStudy(spec.study(), study, observer, report);
    });
  }

  v1::AttemptEnded ended;
  ended.set_job_id(run.job_id());
  ended.set_attempt(run.attempt());
  if (ran.ok()) {
    EndWell(observer, environment, std::move(report), ended);
  } else {
    ended.set_state(v1::Attempt::FAILED);
    ended.set_reason(ReasonOf(ran));
    ended.set_message(std::string(ran.message()));
  }
  ReleaseMemory(environment.device);
  ended.set_reusable(ended.state() == v1::Attempt::SUCCEEDED);
  sink.Finish();
  ended.set_last_attempt_sequence(sink.last_sequence());
  return ended;
}

}  // namespace mantissa::trainer
