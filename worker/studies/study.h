// What every study shares: what it runs on, and whom it tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include <c10/core/Device.h>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "process/clock.h"
#include "process/roots.h"
#include "worker/trainer/engine.h"

namespace mantissa::trainer {

// All of it outlives the study.
struct StudyEnvironment {
  c10::Device device = c10::kCPU;
  std::string device_name;  // `cpu`, or the GPU's
  // That the device has arithmetic for; empty: all.
  std::vector<v1::PrecisionSpec::Mode> precisions = {};
  std::int32_t threads = 1;             // that it may use
  std::int64_t memory_limit_bytes = 0;  // of host memory; 0: none
  const process::Roots& roots;
  const process::Clock& clock;
  std::int32_t asked_threads = 0;  // that the spec asks for; 0: as many as suit the work
};

// Asked between cases, and as often as an engine asks within them, whether to stop; a study that is stopped keeps what
// it has, and says that it is partial.
class StudyObserver : public Control {
 public:
  // One more case is done, of all that there are; `what` is a line for people: `FP16, seed 2: loss 0.412`. Called with
  // none done, and nothing to say, once it is known how many there are.
  virtual void Done(std::int32_t done, std::int32_t total, const std::string& what) = 0;
};

// Each fills in the report's finding, limits, partial and result; what is of every report is RunStudy's. The spec is
// valid and has its defaults. An error carries its reason (as attempts' do) and is one of the whole study: a case that
// cannot be done is a row that says why. Exceptions of LibTorch go through, but for those that a row speaks of.
absl::Status RunFormatTable(const v1::FormatTable&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunPrecisionComparison(const v1::PrecisionComparison&, const StudyEnvironment&, StudyObserver&,
                                    v1::Report&);
absl::Status RunGradientAnalysis(const v1::GradientAnalysis&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunScalerStudy(const v1::ScalerStudy&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunLayoutBenchmark(const v1::LayoutBenchmark&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunTensorCore(const v1::TensorCore&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunMemoryPlan(const v1::MemoryPlan&, const StudyEnvironment&, StudyObserver&, v1::Report&);
absl::Status RunFailureModes(const v1::FailureModes&, const StudyEnvironment&, StudyObserver&, v1::Report&);

// Any of them, by its kind.
absl::Status RunStudy(const v1::StudySpec& study, const StudyEnvironment& environment, StudyObserver& observer,
                      v1::Report& report);

}  // namespace mantissa::trainer
