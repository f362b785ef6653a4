#include "worker/trainer/graph/graph_engine.h"

#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "process/log.h"
#include "worker/data/data_size.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

std::string TextOf(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<GraphEngine>> GraphEngine::Record(RunState& state, StepProgram& program,
                                                                 const MantissaRecorder& recorder,
                                                                 const process::Clock& clock,
                                                                 const GraphEngineOptions& options) {
  const std::int64_t size = program.SamplesIn(state.step_state().iteration);
  const std::int64_t micro_batches = program.options().plan.MicroBatchesOf(size);
  if (micro_batches > kMostMicroBatches) {
    return absl::FailedPreconditionError(absl::StrCat("a window has ", micro_batches, " micro-batches, and at most ",
                                                      kMostMicroBatches, " are recorded"));
  }
  try {
    std::unique_ptr<GraphEngine> engine(new GraphEngine(state, program, recorder, clock, options));
    const std::string why_not = engine->AddStep(size);
    if (!why_not.empty()) return absl::FailedPreconditionError(why_not);
    return engine;
  } catch (const c10::Error& error) {
    return absl::FailedPreconditionError(error.what_without_backtrace());
  }
}

GraphEngine::GraphEngine(RunState& state, StepProgram& program, const MantissaRecorder& recorder,
                         const process::Clock& clock, const GraphEngineOptions& options)
    : PipelinedEngine(state, program, clock, options.in_flight),
      recorder_(recorder),
      options_(options),
      ring_(recorder, state.iteration_state(), options.in_flight) {}

GraphEngine::~GraphEngine() {
  // A device that has failed is past waiting for.
  try {
    while (ring_.pending() > 0) ring_.Await();
  } catch (const c10::Error&) {
  }
  for (const auto& [size, step] : steps_) {
    if (step.graph != nullptr) recorder_.forget(step.graph);
  }
}

std::int64_t GraphEngine::pool_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& [size, step] : steps_) {
    if (step.graph != nullptr) bytes += recorder_.pool_bytes(step.graph);
  }
  return bytes;
}

// A rehearsal has to be alone: what it publishes and what it halts are those of the run.
bool GraphEngine::MayFollow(std::int64_t iteration) const { return steps_.contains(program().SamplesIn(iteration)); }

bool GraphEngine::StartIteration(std::int64_t iteration, Control& control) {
  if (control.stop_requested()) return false;
  const std::int64_t size = program().SamplesIn(iteration);
  if (!steps_.contains(size)) {
    const std::string why_not = AddStep(size);
    if (!why_not.empty()) {
      process::Log(process::Level::kWarning, "windows of one size are run operation by operation",
                   {{"samples", size}, {"reason", why_not}});
    }
  }
  Step& step = steps_.at(size);
  if (step.graph == nullptr) {
    RunByOperations(step);
  } else {
    std::array<char, 512> error = {};
    TORCH_CHECK(recorder_.launch(step.graph, error.data(), error.size()) == 0,
                "a recorded iteration could not be launched: ", error.data());
  }
  follows_.push_back(ring_.pending() > 0);
  ring_.Expect();
  return true;
}

GraphEngine::Learned GraphEngine::FinishIteration() {
  const StepRecord& record = ring_.Await();
  const std::int64_t before = std::exchange(finished_nanos_, record.device_nanos);
  const bool follows = follows_.front();
  follows_.pop_front();
  Learned learned{record.state, std::nullopt};
  // One after another without the host: from end to end.
  if (follows && finished_nanos_ > before) learned.took = std::chrono::nanoseconds(finished_nanos_ - before);
  return learned;
}

// Halted, a run is changed by no iteration, so that a rehearsal needs nothing undone but the halt.
std::string GraphEngine::AddStep(std::int64_t size) {
  Step& step = steps_.try_emplace(size, Step{*this, size}).first->second;
  const StepState before = state().step_state();
  StepState halted = before;
  halted.halt = static_cast<std::int32_t>(Halt::kRehearsal);
  state().iteration_state().WriteState(halted);
  std::string why_not;
  try {
    for (int i = 0; i < options_.rehearsals; ++i) {
      RunByOperations(step);
      ring_.Expect();
      ring_.Await();
    }
    why_not = Capture(step);
  } catch (const c10::Error& error) {
    why_not = error.what_without_backtrace();
  }
  state().iteration_state().WriteState(before);
  return why_not;
}

std::string GraphEngine::Capture(Step& step) {
  MantissaGraph* neighbour = nullptr;
  for (const auto& [size, other] : steps_) {
    if (other.graph != nullptr) neighbour = other.graph;
  }
  std::array<char, 1024> error = {};
  if (recorder_.record(&GraphEngine::Work, &step, neighbour, &step.graph, error.data(), error.size()) != 0) {
    step.graph = nullptr;
    return step.failure ? TextOf(std::exchange(step.failure, nullptr)) : std::string(error.data());
  }
  const std::int64_t taken = recorder_.pool_bytes(step.graph);
  const std::int64_t left = FreeMemory(state().device(), /*limit_bytes=*/0);
  if (taken <= left) return "";
  recorder_.forget(std::exchange(step.graph, nullptr));
  return absl::StrCat("a graph keeps ", BytesText(taken), " for itself, and of the ", BytesText(left),
                      " that are left an evaluation or a replay may need as much once more");
}

std::int32_t GraphEngine::Work(void* step) {
  auto& recorded = *static_cast<Step*>(step);
  try {
    recorded.engine.RunByOperations(recorded);
    return 0;
  } catch (...) {
    recorded.failure = std::current_exception();
    return 1;
  }
}

void GraphEngine::RunByOperations(Step& step) {
  program().RunNext(step.size);
  ring_.Publish();
}

}  // namespace mantissa::trainer
