// Everything about how a job is run that can change its bits. Decided once per job, kept in the manifest, followed on
// resume.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "proto/spec/model_shape.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {

inline constexpr char kNothingEmulated[] = "none";

struct ExecutionPlan {
  std::int32_t threads = 1;
  bool deterministic = false;
  std::int64_t micro_batch = 1;  // samples
  std::string device;            // `cpu`, or the GPU's name
  std::string cpu_capability;    // LibTorch's: AVX2, AVX512, ...
  std::string torch_version;
  std::string emulated = kNothingEmulated;  // modes that the device has no arithmetic for: `TF32`

  bool operator==(const ExecutionPlan&) const = default;
};

// What the plan is decided from.
struct Machine {
  std::int32_t threads = 1;  // that the attempt may use
  std::string device;
  std::string cpu_capability;
  std::string torch_version;
};

// Threads for a CPU job whose micro-batch takes `operations` (multiply-adds, forward and backward): a second thread
// costs some 10 us at every operation of the model, so small models run best on one.
std::int32_t ThreadsFor(std::int64_t operations, std::int32_t most);

// Multiply-adds of one forward and backward pass, about: three times the parameters for each row, or each
// place of an image, that they are applied to.
std::int64_t EstimateOperations(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                                std::int64_t micro_batch);

// `spec` has its defaults resolved; its resources.cpu_threads is obeyed where it is set.
ExecutionPlan MakePlan(const v1::JobSpec& spec, const spec::SampleShape& sample, const Machine& machine);

// Modes that the device has no arithmetic for, as the plan names them: `TF32+BF16`, or kNothingEmulated.
std::string EmulatedText(const std::vector<v1::PrecisionSpec::Mode>& modes);

// What the process is set to for a run in `mode`, the one in effect.
ProcessGlobals GlobalsOf(const ExecutionPlan& plan, v1::PrecisionSpec::Mode mode);

// As the manifest keeps it.
std::map<std::string, std::string> PlanFields(const ExecutionPlan& plan);

// The plan of a job that goes on: the saved thread count where the machine has as many and the spec does not ask for
// another, and the saved micro-batch where the spec leaves it open. What cannot be followed stays as this machine has
// it.
ExecutionPlan FollowPlan(const ExecutionPlan& wanted, const std::map<std::string, std::string>& saved,
                         const v1::JobSpec& spec, const Machine& machine);

// `threads (was 2, is 1)` for every field that is not as it was saved: results may differ in their last bits.
std::vector<std::string> PlanDifferences(const std::map<std::string, std::string>& saved, const ExecutionPlan& plan);

}  // namespace mantissa::trainer
