// What runs iterations: one after another on the host's word, or from a recorded graph.
#pragma once

#include <optional>
#include <vector>

#include "worker/amp/iteration_record.h"
#include "worker/amp/verdict.h"
#include "worker/trainer/boundary_plan.h"
#include "worker/trainer/fault_location.h"

namespace mantissa::trainer {

// What the outside wants of a run. Implementations answer in well under a microsecond.
class Control {
 public:
  virtual ~Control() = default;
  virtual bool stop_requested() = 0;
};

struct IterationReport {
  IterationRecord record;
  std::vector<Offender> offenders;        // of a skipped iteration
  std::optional<FaultLocation> location;  // of one that was replayed
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Runs iterations until the boundary (true), a stop request, a halt, or about 1 ms. No iteration beyond the boundary
  // takes effect. After the boundary and after a halt nothing is in flight.
  virtual bool RunUntil(const Boundary& boundary, Control& control) = 0;

  // The reports that have become known since the last call, in order.
  virtual std::vector<IterationReport> Poll() = 0;

  // Waits until nothing is in flight; all reports are then known.
  virtual void Drain() = 0;

  // As far as reports are known. Iterations in flight may have got further, but never past a boundary.
  virtual Progress progress() = 0;
};

}  // namespace mantissa::trainer
