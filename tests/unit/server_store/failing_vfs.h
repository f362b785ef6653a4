// A disk that fails on demand, under SQLite: a VFS around the one of this system.
#pragma once

#include <cstdint>
#include <string>

namespace mantissa::server {

// Which call fails, how, and for how long.
struct DiskFault {
  enum class Call { kWrite, kSync, kTruncate };
  Call call = Call::kWrite;
  bool log = true;     // of the write-ahead log; else of the database file
  int64_t at = 1;      // the Nth such call from now on
  bool lasts = false;  // and all after it, until Heal
  bool torn = false;   // half of what is to be written is written
  int code = 0;        // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, ...
};

// What SQLite opens while this lives goes through it. One at a time; not thread-safe.
class FailingVfs {
 public:
  FailingVfs();
  ~FailingVfs();
  FailingVfs(const FailingVfs&) = delete;
  FailingVfs& operator=(const FailingVfs&) = delete;

  void Inject(const DiskFault& fault);
  void Heal();
  // While paused nothing fails, and no calls are counted.
  void Pause(bool paused);
  // Calls that have failed.
  int64_t failures() const;
};

}  // namespace mantissa::server
