// SIGTERM and SIGINT turned into something a main thread can wait on.
#pragma once

#include <chrono>
#include <optional>

#include "process/file_descriptor.h"

namespace mantissa::process {

// Installs handlers for SIGTERM and SIGINT from construction to destruction, and ignores SIGPIPE for the process; at
// most one may live at a time. Signals are handled rather than blocked, so that child processes inherit nothing. Once
// raised it stays raised. Thread-safe.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Readable once a stop was asked for, and from then on; never read from it.
  int fd() const { return event_.get(); }

  bool raised() const;

  // Waits for a stop, without limit when there is no timeout. True when one was asked for.
  bool Wait(std::optional<std::chrono::milliseconds> timeout = std::nullopt) const;

  // Asks for a stop from inside the program.
  void Raise();

 private:
  FileDescriptor event_;
};

}  // namespace mantissa::process
