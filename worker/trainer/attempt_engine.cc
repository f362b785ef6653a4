#include "worker/trainer/attempt_engine.h"

#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "worker/data/data_size.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/graph/graph_engine.h"
#include "worker/trainer/report/run_events.h"

namespace mantissa::trainer {
namespace {

v1::JobEvent Notice(const process::Clock& clock, v1::JobEvent::Severity severity, const std::string& reason,
                    const std::string& message) {
  const auto wall = clock.WallNow().time_since_epoch();
  return MakeEvent(std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count(), severity, reason, message);
}

}  // namespace

absl::StatusOr<ChosenEngine> ChooseEngine(v1::ExecutionSpec::Mode mode, RunState& state, StepProgram& program,
                                          const MantissaRecorder* recorder, const process::Clock& clock) {
  ChosenEngine chosen;
  std::string why_not = "this device has no graphs to record";
  if (mode != v1::ExecutionSpec::EAGER && recorder != nullptr) {
    auto engine = GraphEngine::Record(state, program, *recorder, clock);
    if (engine.ok()) {
      chosen.recorded = true;
      chosen.notice = Notice(clock, v1::JobEvent::INFO, "STEP_GRAPH",
                             absl::StrCat("every iteration is one recorded graph; it takes ",
                                          BytesText((*engine)->pool_bytes()), " of memory for itself"));
      chosen.engine = *std::move(engine);
      return chosen;
    }
    why_not = std::string(engine.status().message());
    chosen.notice = Notice(
        clock, v1::JobEvent::WARNING, "STEP_EAGER",
        absl::StrCat("iterations are run operation by operation, which is slower and changes no result: they could ",
                     "not be recorded (", why_not, ")"));
  }
  if (mode == v1::ExecutionSpec::GRAPH) {
    return Because(v1::Reason::BAD_SPEC, absl::FailedPreconditionError(absl::StrCat(
                                             "training.execution.mode: is GRAPH, and iterations cannot be recorded: ",
                                             why_not, "; use AUTO, or a CUDA device with more memory")));
  }
  chosen.engine = std::make_unique<EagerEngine>(state, program, clock);
  return chosen;
}

}  // namespace mantissa::trainer
