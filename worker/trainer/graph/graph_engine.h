// Runs every iteration as one recorded graph.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

#include "worker/trainer/device_api.h"
#include "worker/trainer/graph/record_ring.h"
#include "worker/trainer/pipelined_engine.h"

namespace mantissa::trainer {

struct GraphEngineOptions {
  // As in EagerEngineOptions. While the host writes telemetry, the device has work for so many iterations.
  int in_flight = PipelinedEngine::kMostInFlight;
  // Runs before a recording, in which libraries make their plans and workspaces.
  int rehearsals = 3;
};

// The same bits as EagerEngine on the same device. An iteration is one launch: StepProgram::RunNext and a record for
// the host, which polls for it and calls the device for nothing else. Windows of one size share a graph, and there are
// two sizes: a whole one, and the last one of a pass. Not thread-safe; its thread's current stream is the same, and not
// the default one, from Record on.
class GraphEngine final : public PipelinedEngine {
 public:
  // All micro-batches of a window are in one graph. Beyond so many a launch saves nothing, and a graph takes minutes to
  // be made.
  static constexpr std::int64_t kMostMicroBatches = 256;

  // Records the next window. An error says what keeps it from being recorded; nothing has changed then. `recorder`
  // and all other references outlive the engine.
  static absl::StatusOr<std::unique_ptr<GraphEngine>> Record(RunState& state, StepProgram& program,
                                                             const MantissaRecorder& recorder,
                                                             const process::Clock& clock,
                                                             const GraphEngineOptions& options = {});
  ~GraphEngine() override;
  GraphEngine(const GraphEngine&) = delete;
  GraphEngine& operator=(const GraphEngine&) = delete;

  // Bytes of the graphs' own pool: what an iteration takes beside what lives between iterations.
  std::int64_t pool_bytes() const;

 private:
  // Windows of one size.
  struct Step {
    GraphEngine& engine;
    const std::int64_t size;
    MantissaGraph* graph = nullptr;        // null: it could not be recorded, and is run operation by operation
    std::exception_ptr failure = nullptr;  // of the work
  };

  GraphEngine(RunState& state, StepProgram& program, const MantissaRecorder& recorder, const process::Clock& clock,
              const GraphEngineOptions& options);

  bool StartIteration(std::int64_t iteration, Control& control) override;
  bool MayFollow(std::int64_t iteration) const override;
  int pending() const override { return ring_.pending(); }
  Learned FinishIteration() override;
  std::span<const GradientStats> stats() const override { return ring_.stats(); }

  // Rehearses and records windows of this size; nothing is in flight. Empty, or why they cannot be recorded.
  std::string AddStep(std::int64_t size);
  std::string Capture(Step& step);
  // What is recorded.
  static std::int32_t Work(void* step);
  void RunByOperations(Step& step);

  const MantissaRecorder& recorder_;
  const GraphEngineOptions options_;
  RecordRing ring_;
  std::map<std::int64_t, Step> steps_;  // by size
  std::deque<bool> follows_;            // of those pending: started while another one was
  std::int64_t finished_nanos_ = 0;     // by the device's clock
};

}  // namespace mantissa::trainer
