// Every state a job and its newest attempt can be in together, and every legal move between them: the one table.
#pragma once

#include <string>
#include <string_view>

#include "mantissa/v1/job.pb.h"

namespace mantissa::server {

// Who makes a move.
enum class Mover {
  kUser,       // submit, cancel, pause, resume
  kPlacement,  // gives a queued job to a worker
  kWorker,     // what a report or telemetry says, and what is missing from a report
  kClock,      // leases and timeouts
};

// A job together with its live attempt, or with the attempt it has just ended. `attempt` is unspecified where the job
// has no live attempt: while it is QUEUED and after its end.
struct JobPosition {
  v1::Job::State job = v1::Job::STATE_UNSPECIFIED;
  v1::Attempt::State attempt = v1::Attempt::STATE_UNSPECIFIED;

  friend bool operator==(const JobPosition&, const JobPosition&) = default;
};

//        submit (user)
//           |
//           v      assign (placement)             start (worker)
//        QUEUED ----------------------> STARTING ----------------> RUNNING
//         | |  ^                         |  |  |                   |  |  |
//         | |  |   retry (worker, clock) |  |  |                   |  |  +---> SUCCEEDED  complete (worker)
//         | |  +-------------------------+--|--|-------------------+  |
//         | |                               |  |                      |
//         | +--> FAILED <-------------------+--|----------------------+  final failure (worker, clock)
//         |       deadline (clock)             |                      |
//         |                                    +------> CANCELLING <--+  cancel (user)
//         |                                                 |
//         +--> CANCELLED <----------------------------------+            stopped, or gone (worker, clock)
//           cancel (user)
//
//        STARTING, RUNNING --pause (user)--> PAUSING --stopped, or gone (worker, clock)--> PAUSED --cancel--> CANCELLED
//           ^                                 |  | |                                       ^   |
//           +--resume (user), no checkpoint---+  | +---> SUCCEEDED, FAILED, CANCELLING     |   | resume (user)
//              could be written (worker)         +-- the attempt starts (worker)           |   v
//                                                                        pause (user) -- QUEUED
//
// The attempt moves with it: STARTING -> RUNNING -> SUCCEEDED, FAILED, CANCELLED, STOPPED by its worker's word, FAILED
// by a timeout, LOST when its lease runs out or its worker no longer has it. A job in CANCELLING ends CANCELLED
// whatever its attempt came to; one in PAUSING is PAUSED unless its attempt succeeded, or failed for good. SUCCEEDED,
// FAILED, CANCELLED and STOPPED never change. LOST does in one case: the worker was only cut off, and is back before
// the job has another attempt; then the attempt is live again, and the job RUNNING (Note [Revival]).
bool IsLegalMove(JobPosition from, JobPosition to, Mover mover);

// A cancel moves a job of this state; any other has ended, or is on its way there.
bool IsCancellable(v1::Job::State state);

bool IsTerminal(v1::Job::State state);
bool IsTerminal(v1::Attempt::State state);

// "RUNNING".
std::string_view StateName(v1::Job::State state);

}  // namespace mantissa::server
