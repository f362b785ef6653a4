// A tool that is told what attempts measure.
#pragma once

#include <vector>

#include "absl/status/status.h"

#include "worker/agent/exporters/export_point.h"

namespace mantissa::agent {

// Calls may block: they come from a thread that has nothing else to do, one after another. A call that fails as
// UNAVAILABLE or RESOURCE_EXHAUSTED is repeated later as it was, and must then do what it did not do before; any other
// error gives the attempt up. Thread-compatible, but for Abort.
class Exporter {
 public:
  virtual ~Exporter() = default;

  // In logs and as the label of its metrics; stays what it is.
  virtual const char* name() const = 0;

  virtual absl::Status Begin(const ExportedAttempt& attempt) = 0;
  // Points of an attempt that has begun, in order.
  virtual absl::Status Add(const AttemptKey& key, const std::vector<ExportPoint>& points) = 0;
  // No more comes for it.
  virtual absl::Status End(const AttemptKey& key, v1::Attempt::State state) = 0;

  // From any thread: the worker stops, so a call under way and those after it end soon.
  virtual void Abort() {}
};

}  // namespace mantissa::agent
