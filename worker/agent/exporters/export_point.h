// What leaves for other tools: numbers with a name, at a step and a time.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "worker/agent/attempt_key.h"

namespace mantissa::agent {

struct Scalar {
  const char* tag;  // `train/loss`
  double value;     // NaN and Inf as they are
};

// What one record or evaluation says.
struct ExportPoint {
  std::int64_t step = 0;  // the iteration, skipped ones counted: where the loss scale backs off is then seen
  std::int64_t time_unix_nanos = 0;
  std::vector<Scalar> scalars;
  bool skipped = false;     // of a skipped iteration
  bool evaluation = false;  // no record
};

// Of records: train/loss, train/loss_scale, train/overflow (1 on a skipped iteration, else 0), train/grad_norm,
// train/learning_rate, train/samples_per_second, those that a record has. Of an evaluation: eval/loss, eval/accuracy,
// eval/perplexity. Nothing of gaps and other events. The segment is one that CheckSegment takes.
std::vector<ExportPoint> PointsOf(const v1::Segment& segment);

// An attempt as it begins.
struct ExportedAttempt {
  AttemptKey key;
  std::string name;  // of the job
  std::int64_t start_unix_millis = 0;
  std::vector<std::pair<std::string, std::string>> parameters;  // `precision.mode`, `FP16`
};

// What distinguishes one training from another: precision, model, data, optimizer, learning rate, schedule, batch size,
// accumulation, clipping, seed and length.
std::vector<std::pair<std::string, std::string>> ParametersOf(const v1::JobSpec& spec);

}  // namespace mantissa::agent
