#include "server/core/job_state.h"

#include <algorithm>
#include <array>

namespace mantissa::server {
namespace {

using J = v1::Job;
using A = v1::Attempt;

constexpr A::State kNone = A::STATE_UNSPECIFIED;

constexpr unsigned By(Mover mover) { return 1u << static_cast<unsigned>(mover); }

constexpr unsigned kUser = By(Mover::kUser);
constexpr unsigned kPlacement = By(Mover::kPlacement);
constexpr unsigned kWorker = By(Mover::kWorker);
constexpr unsigned kClock = By(Mover::kClock);

struct Row {
  JobPosition from;
  JobPosition to;
  unsigned movers;
};

constexpr std::array<Row, 49> kTable = {{
    // submit
    {{J::STATE_UNSPECIFIED, kNone}, {J::QUEUED, kNone}, kUser},
    // assign
    {{J::QUEUED, kNone}, {J::STARTING, A::STARTING}, kPlacement},
    // start
    {{J::STARTING, A::STARTING}, {J::RUNNING, A::RUNNING}, kWorker},
    {{J::CANCELLING, A::STARTING}, {J::CANCELLING, A::RUNNING}, kWorker},
    // complete
    {{J::RUNNING, A::RUNNING}, {J::SUCCEEDED, A::SUCCEEDED}, kWorker},
    // retry: the attempt failed or was lost, the job may try again
    {{J::STARTING, A::STARTING}, {J::QUEUED, A::FAILED}, kWorker | kClock},
    {{J::RUNNING, A::RUNNING}, {J::QUEUED, A::FAILED}, kWorker | kClock},
    {{J::STARTING, A::STARTING}, {J::QUEUED, A::LOST}, kWorker | kClock},
    {{J::RUNNING, A::RUNNING}, {J::QUEUED, A::LOST}, kWorker | kClock},
    // final failure: of the attempt, or because no retry is left, or at a deadline
    {{J::STARTING, A::STARTING}, {J::FAILED, A::FAILED}, kWorker | kClock},
    {{J::RUNNING, A::RUNNING}, {J::FAILED, A::FAILED}, kWorker | kClock},
    {{J::STARTING, A::STARTING}, {J::FAILED, A::LOST}, kWorker | kClock},
    {{J::RUNNING, A::RUNNING}, {J::FAILED, A::LOST}, kWorker | kClock},
    {{J::QUEUED, kNone}, {J::FAILED, kNone}, kClock},
    // stopped by request, to go on elsewhere
    {{J::STARTING, A::STARTING}, {J::QUEUED, A::STOPPED}, kWorker},
    {{J::RUNNING, A::RUNNING}, {J::QUEUED, A::STOPPED}, kWorker},
    // revive
    {{J::QUEUED, A::LOST}, {J::STARTING, A::STARTING}, kWorker},
    {{J::QUEUED, A::LOST}, {J::RUNNING, A::RUNNING}, kWorker},
    // pause
    {{J::QUEUED, kNone}, {J::PAUSED, kNone}, kUser},
    {{J::STARTING, A::STARTING}, {J::PAUSING, A::STARTING}, kUser},
    {{J::RUNNING, A::RUNNING}, {J::PAUSING, A::RUNNING}, kUser},
    {{J::PAUSING, A::STARTING}, {J::PAUSING, A::RUNNING}, kWorker},
    // resume, or no pause after all
    {{J::PAUSED, kNone}, {J::QUEUED, kNone}, kUser},
    {{J::PAUSING, A::STARTING}, {J::STARTING, A::STARTING}, kUser},
    {{J::PAUSING, A::RUNNING}, {J::RUNNING, A::RUNNING}, kUser | kWorker},
    // paused
    {{J::PAUSING, A::STARTING}, {J::PAUSED, A::STOPPED}, kWorker},
    {{J::PAUSING, A::RUNNING}, {J::PAUSED, A::STOPPED}, kWorker},
    {{J::PAUSING, A::STARTING}, {J::PAUSED, A::FAILED}, kWorker | kClock},
    {{J::PAUSING, A::RUNNING}, {J::PAUSED, A::FAILED}, kWorker | kClock},
    {{J::PAUSING, A::STARTING}, {J::PAUSED, A::LOST}, kWorker | kClock},
    {{J::PAUSING, A::RUNNING}, {J::PAUSED, A::LOST}, kWorker | kClock},
    // over before it was paused
    {{J::PAUSING, A::RUNNING}, {J::SUCCEEDED, A::SUCCEEDED}, kWorker},
    {{J::PAUSING, A::STARTING}, {J::FAILED, A::FAILED}, kWorker | kClock},
    {{J::PAUSING, A::RUNNING}, {J::FAILED, A::FAILED}, kWorker | kClock},
    // cancel
    {{J::QUEUED, kNone}, {J::CANCELLED, kNone}, kUser},
    {{J::PAUSED, kNone}, {J::CANCELLED, kNone}, kUser},
    {{J::PAUSING, A::STARTING}, {J::CANCELLING, A::STARTING}, kUser},
    {{J::PAUSING, A::RUNNING}, {J::CANCELLING, A::RUNNING}, kUser},
    {{J::STARTING, A::STARTING}, {J::CANCELLING, A::STARTING}, kUser},
    {{J::RUNNING, A::RUNNING}, {J::CANCELLING, A::RUNNING}, kUser},
    // wound down
    {{J::CANCELLING, A::STARTING}, {J::CANCELLED, A::CANCELLED}, kWorker},
    {{J::CANCELLING, A::RUNNING}, {J::CANCELLED, A::CANCELLED}, kWorker},
    {{J::CANCELLING, A::STARTING}, {J::CANCELLED, A::FAILED}, kWorker | kClock},
    {{J::CANCELLING, A::RUNNING}, {J::CANCELLED, A::FAILED}, kWorker | kClock},
    {{J::CANCELLING, A::RUNNING}, {J::CANCELLED, A::SUCCEEDED}, kWorker},
    {{J::CANCELLING, A::STARTING}, {J::CANCELLED, A::STOPPED}, kWorker},
    {{J::CANCELLING, A::RUNNING}, {J::CANCELLED, A::STOPPED}, kWorker},
    {{J::CANCELLING, A::STARTING}, {J::CANCELLED, A::LOST}, kWorker | kClock},
    {{J::CANCELLING, A::RUNNING}, {J::CANCELLED, A::LOST}, kWorker | kClock},
}};

}  // namespace

bool IsLegalMove(JobPosition from, JobPosition to, Mover mover) {
  return std::any_of(kTable.begin(), kTable.end(),
                     [&](const Row& row) { return row.from == from && row.to == to && (row.movers & By(mover)) != 0; });
}

bool IsCancellable(v1::Job::State state) {
  return std::any_of(kTable.begin(), kTable.end(), [&](const Row& row) {
    return row.from.job == state && row.movers == kUser && (row.to.job == J::CANCELLING || row.to.job == J::CANCELLED);
  });
}

bool IsTerminal(v1::Job::State state) { return state == J::SUCCEEDED || state == J::FAILED || state == J::CANCELLED; }

bool IsTerminal(v1::Attempt::State state) {
  return state == A::SUCCEEDED || state == A::FAILED || state == A::CANCELLED || state == A::LOST ||
         state == A::STOPPED;
}

std::string_view StateName(v1::Job::State state) { return v1::Job::State_Name(state); }

}  // namespace mantissa::server
