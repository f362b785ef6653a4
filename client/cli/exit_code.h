// What `mantissa` says to the shell.
#pragma once

namespace mantissa::cli {

enum ExitCode {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,      // also a bad spec
  kExitJobFailed = 3,  // the job watched or waited for FAILED or was CANCELLED
  kExitNotAuthorised = 4,
  kExitNotFound = 5,
  kExitUnavailable = 6,
  kExitTimedOut = 7,
  kExitInterrupted = 130,
};

}  // namespace mantissa::cli
