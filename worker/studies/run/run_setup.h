// A training of a study's own, from its model to its engine.
#pragma once

#include <cstdint>

#include "mantissa/v1/training.pb.h"
#include "worker/data/dataset.h"
#include "worker/studies/study.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

struct RunSetupOptions {
  const v1::TrainingSpec& training;  // valid, with its defaults and an accumulation
  const Dataset& data;               // on the environment's device; outlives the run
  std::int64_t iterations = 1;       // of the whole run: the schedule's horizon
  std::int32_t threads = 1;
};

// Begins from what the seed gives, with its weights cast. Products of formats that the device lacks are made of FP32's.
// Not thread-safe.
class RunSetup {
 public:
  // Takes the process over. `environment` outlives it.
  RunSetup(const RunSetupOptions& options, const StudyEnvironment& environment);

  // Sets the process to what this training needs. Several may live at once and train in turn: each does so before it
  // goes on.
  void TakeProcess() const { ResetProcess(globals_); }

  RunState& state() { return state_; }
  StepProgram& program() { return program_; }
  Engine& engine() { return engine_; }
  const PrecisionPolicy& policy() const { return program_.options().policy; }

 private:
  const ProcessGlobals globals_;
  RunState state_;
  StepProgram program_;
  EagerEngine engine_;
};

}  // namespace mantissa::trainer
