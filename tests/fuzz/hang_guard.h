// An input that is worked on for more than a second is a failure.
#pragma once

namespace mantissa::fuzz {

// One for each input: ends the process, as a crash with the input kept, when it has used more than one second of
// processor time. Of processor time, so that a busy machine makes no difference; with sanitizers, so that what is a
// second here is a small part of one for users. Not thread-safe.
class HangGuard {
 public:
  HangGuard();
  ~HangGuard();
  HangGuard(const HangGuard&) = delete;
  HangGuard& operator=(const HangGuard&) = delete;
};

// Ends the process, as a crash with the input kept, where a property does not hold.
void Require(bool holds, const char* what);

}  // namespace mantissa::fuzz
