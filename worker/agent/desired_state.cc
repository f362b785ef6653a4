#include "worker/agent/desired_state.h"

#include <set>

namespace mantissa::agent {
namespace {

using Goal = v1::DesiredAttempt;

void DecideHeld(const v1::DesiredAttempt& desired, const HeldAttempt& attempt, bool leaving, Orders& orders) {
  const AttemptKey key = KeyOf(attempt.ref);
  switch (desired.goal()) {
    case Goal::RUN:
      if (leaving && !attempt.over()) orders.move_on.push_back(key);
      break;
    case Goal::CANCEL:
      if (!attempt.over()) orders.cancel.push_back(key);
      break;
    case Goal::STOP_WITH_CHECKPOINT:
      if (!attempt.over()) orders.move_on.push_back(key);
      break;
    case Goal::FORGET:
      (attempt.over() ? orders.forget : orders.abandon).push_back(key);
      break;
    default:
      break;  // a goal of a later release: the attempt goes on as it is
  }
}

}  // namespace

Orders Decide(const v1::SynchronizeResponse& desired, const HeldAttempts& held, bool draining) {
  Orders orders;
  const bool leaving = draining || desired.drain();
  std::set<AttemptKey> named;
  for (const v1::DesiredAttempt& attempt : desired.attempts()) {
    const AttemptKey key = KeyOf(attempt.ref());
    const HeldAttempt* mine = held.Find(key);
    if (mine != nullptr && mine->ref.token() != attempt.ref().token()) continue;  // not the one held: that goes below
    named.insert(key);
    if (mine != nullptr) {
      DecideHeld(attempt, *mine, leaving, orders);
    } else if (attempt.goal() == Goal::RUN && attempt.has_assignment() && !leaving) {
      orders.start.push_back(attempt);
    }
  }
  for (const auto& [key, attempt] : held.all()) {
    if (!named.contains(key)) orders.abandon.push_back(key);
  }
  return orders;
}

}  // namespace mantissa::agent
