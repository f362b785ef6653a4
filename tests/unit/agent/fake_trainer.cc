// A trainer that does what the name of the job tells it: steps separated by ','.
//
//   started            AttemptStarted
//   records=N          N iteration records, one segment each
//   event[=REASON]     one event; CHECKPOINT_SAVED took 0.25 s
//   out=TEXT err=TEXT  a line on stdout or stderr
//   save=STEP          CheckpointSaved, then wait for CheckpointCommitted
//   save_only=STEP     CheckpointSaved
//   wait               until StopAttempt, then CANCELLED, with a checkpoint first where asked
//   declines           the next StopAttempt that lets it go on
//   deaf               for ever, whatever is said
//   crash kill exit=N  the end of the process
//   cut garbage        half a frame and the end; a frame that is no message
//   killed-inside      half a frame and SIGKILL
//   fail               FAILED
//   artifact=PATH      an artifact of the end, relative to the root of checkpoints
// and SUCCEEDED, reusable, at the end of the steps.
//
// The tenant "unbindable" is refused, "unanswered" gets no answer.
//
// FAKE_CUDA_DEVICES says how many CUDA devices there are; FAKE_TRAINER_MUTE keeps it from saying Hello;
// FAKE_TRAINER_LINGERS keeps it there when it is told to go; FAKE_TRAINER_PROTOCOL sets the protocol it speaks.
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/frame.h"

namespace mantissa {
namespace {

constexpr int kFrames = 3;

void Send(const v1::TrainerReport& report) {
  if (!process::WriteFrame(kFrames, report.SerializeAsString()).ok()) std::_Exit(9);
}

v1::TrainerCommand Receive() {
  const absl::StatusOr<std::string> frame = process::ReadFrame(kFrames);
  v1::TrainerCommand command;
  if (!frame.ok() || !command.ParseFromString(*frame)) std::_Exit(0);
  return command;
}

[[noreturn]] void SleepForEver() {
  while (true) ::pause();
}

class FakeTrainer {
 public:
  explicit FakeTrainer(std::string device) : device_(std::move(device)) {}

  [[noreturn]] void Serve() {
    if (std::getenv("FAKE_TRAINER_MUTE") != nullptr) SleepForEver();
    SayHello();
    while (true) {
      const v1::TrainerCommand command = Receive();
      if (command.has_bind()) {
        if (command.bind().tenant() == "unanswered") SleepForEver();
        v1::TrainerReport report;
        report.mutable_bound()->set_sandbox_level(command.bind().tenant() == "unbindable" ? "" : "none");
        if (command.bind().tenant() == "unbindable") report.mutable_bound()->set_error("no such tenant");
        Send(report);
      } else if (command.has_run()) {
        Run(command.run());
      } else if (command.has_shutdown()) {
        if (std::getenv("FAKE_TRAINER_LINGERS") != nullptr) SleepForEver();
        std::_Exit(0);
      }
    }
  }

 private:
  void SayHello() {
    v1::TrainerReport report;
    v1::Hello& hello = *report.mutable_hello();
    const char* protocol = std::getenv("FAKE_TRAINER_PROTOCOL");
    hello.set_protocol_min(protocol == nullptr ? 1 : std::atoi(protocol));
    hello.set_protocol_max(hello.protocol_min());
    hello.add_features("model.mlp");
    if (device_ == "cpu") {
      v1::Device& cpu = *hello.add_devices();
      cpu.set_id("cpu-0");
      cpu.set_kind(v1::Device::CPU);
      cpu.set_model("fake CPU");
      hello.add_features("model.gpt");
    } else {
      const int ordinal = std::atoi(device_.substr(5).c_str());
      const char* count = std::getenv("FAKE_CUDA_DEVICES");
      if (count == nullptr || ordinal >= std::atoi(count)) std::_Exit(1);
      v1::Device& cuda = *hello.add_devices();
      cuda.set_id("cuda-" + std::to_string(ordinal));
      cuda.set_kind(v1::Device::CUDA);
      cuda.set_model("fake GPU");
    }
    Send(report);
  }

  void Run(const v1::RunAttempt& run) {
    run_ = run;
    sequence_ = 0;
    iteration_ = 0;
    v1::AttemptEnded ended;
    ended.set_state(v1::Attempt::SUCCEEDED);
    ended.set_reason(v1::Reason::COMPLETED);
    ended.set_reusable(true);
    std::string_view steps = run_.spec().name();
    while (!steps.empty()) {
      const std::string_view step = steps.substr(0, steps.find(','));
      steps.remove_prefix(std::min(steps.size(), step.size() + 1));
      const std::size_t equals = step.find('=');
      Do(step.substr(0, equals), equals == std::string_view::npos ? "" : std::string(step.substr(equals + 1)), ended);
    }
    ended.set_job_id(run_.job_id());
    ended.set_attempt(run_.attempt());
    ended.set_last_attempt_sequence(sequence_);
    ended.mutable_result()->set_iterations(iteration_);
    v1::TrainerReport report;
    *report.mutable_ended() = ended;
    Send(report);
  }

  void Do(std::string_view step, const std::string& value, v1::AttemptEnded& ended) {
    const int number = std::atoi(value.c_str());
    if (step == "started") {
      v1::TrainerReport report;
      report.mutable_started()->set_job_id(run_.job_id());
      report.mutable_started()->set_attempt(run_.attempt());
      Send(report);
    } else if (step == "records") {
      for (int i = 0; i < number; ++i) SendRecord();
    } else if (step == "event") {
      v1::TrainerReport report;
      v1::Segment& segment = *report.mutable_telemetry()->add_segments();
      segment.set_first_attempt_sequence(++sequence_);
      segment.set_count(1);
      segment.mutable_event()->set_reason(value.empty() ? "TEST" : value);
      if (value == "CHECKPOINT_SAVED") segment.mutable_event()->mutable_checkpoint()->set_seconds(0.25);
      Send(report);
    } else if (step == "out" || step == "err") {
      std::FILE* stream = step == "out" ? stdout : stderr;
      std::fprintf(stream, "%s\n", value.c_str());
      std::fflush(stream);
    } else if (step == "save" || step == "save_only") {
      SaveCheckpoint(number);
      if (step == "save") AwaitCommit();
    } else if (step == "wait") {
      AwaitStop(ended);
    } else if (step == "declines") {
      while (!Receive().stop().or_go_on()) {
      }
      v1::TrainerReport report;
      report.mutable_stop_declined()->set_job_id(run_.job_id());
      report.mutable_stop_declined()->set_attempt(run_.attempt());
      report.mutable_stop_declined()->set_message("the disk is full");
      Send(report);
    } else if (step == "deaf") {
      SleepForEver();
    } else if (step == "crash") {
      std::fprintf(stderr, "about to crash\n");
      ::signal(SIGABRT, SIG_DFL);
      std::abort();
    } else if (step == "kill") {
      ::raise(SIGKILL);
    } else if (step == "exit") {
      std::_Exit(number);
    } else if (step == "cut") {
      [[maybe_unused]] const auto written = ::write(kFrames, "\x40\0\0\0half", 8);
      std::_Exit(0);
    } else if (step == "killed-inside") {
      [[maybe_unused]] const auto written = ::write(kFrames, "\x40\0\0\0half", 8);
      ::raise(SIGKILL);
    } else if (step == "garbage") {
      process::WriteFrame(kFrames, "\xff\xff\xff\xff").IgnoreError();
      SleepForEver();
    } else if (step == "huge") {
      [[maybe_unused]] const auto written = ::write(kFrames, "\xff\xff\xff\xff", 4);
      SleepForEver();
    } else if (step == "fail") {
      ended.set_state(v1::Attempt::FAILED);
      ended.set_reason(v1::Reason::NUMERIC_FAILURE);
      ended.set_message("as told");
    } else if (step == "rollback") {
      ended.set_state(v1::Attempt::FAILED);
      ended.set_reason(v1::Reason::NUMERIC_FAILURE);
      ended.mutable_intervention()->set_kind(v1::Intervention::ROLLBACK);
      ended.mutable_intervention()->mutable_iterations()->set_first(number);
    } else if (step == "lineage") {
      std::fprintf(stdout, "lineage %d\n", run_.lineage().number());
      std::fflush(stdout);
    } else if (step == "artifact") {
      ended.add_artifacts()->set_name("model.safetensors");
      ended.add_artifact_paths(value);
    }
  }

  void SendRecord() {
    v1::TrainerReport report;
    v1::Segment& segment = *report.mutable_telemetry()->add_segments();
    segment.set_first_attempt_sequence(++sequence_);
    segment.set_count(1);
    v1::Column& column = *segment.mutable_records()->add_columns();
    column.set_standard(v1::Column::ITERATION);
    column.mutable_integers()->add_values(++iteration_);
    Send(report);
  }

  void SaveCheckpoint(int step) {
    v1::TrainerReport report;
    v1::Checkpoint& checkpoint = *report.mutable_checkpoint_saved()->mutable_checkpoint();
    checkpoint.set_name("attempt-0001/step-" + std::to_string(step));
    checkpoint.set_step(step);
    checkpoint.set_path(run_.job_id() + "/" + checkpoint.name());
    Send(report);
  }

  void AwaitCommit() {
    while (true) {
      const v1::TrainerCommand command = Receive();
      if (!command.has_checkpoint_committed()) continue;
      std::string line =
          "committed " + command.checkpoint_committed().name() + " " + command.checkpoint_committed().error();
      for (const std::string& path : command.checkpoint_committed().deletions()) line += "deleted " + path;
      std::fprintf(stdout, "%s\n", line.c_str());
      std::fflush(stdout);
      return;
    }
  }

  void AwaitStop(v1::AttemptEnded& ended) {
    while (true) {
      const v1::TrainerCommand command = Receive();
      if (!command.has_stop()) continue;
      if (command.stop().checkpoint()) {
        SaveCheckpoint(77);
        AwaitCommit();
      }
      ended.set_state(v1::Attempt::CANCELLED);
      ended.set_reason(v1::Reason::CANCELLED_BY_USER);
      return;
    }
  }

  const std::string device_;
  v1::RunAttempt run_;
  std::int64_t sequence_ = 0;
  std::int32_t iteration_ = 0;
};

}  // namespace
}  // namespace mantissa

int main(int argc, char** argv) {
  std::string device = "cpu";
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--device") device = argv[i + 1];
  }
  mantissa::FakeTrainer(device).Serve();
}
