// The file system beneath one folder as the code under test uses it: every call that changes something is recorded, can
// be made to fail, and the recording can be played back as a disk that lost its power after any of them.
//
// The calls are taken at the C library's door: this program defines write, fsync, renameat and the others itself, so
// nothing in the code under test knows of it, and calls by way of the library's own buffers (std::ofstream) pass by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace mantissa::trainer {

struct DiskCall {
  enum class Kind { kMakeFolder, kCreate, kWrite, kSync, kClose, kRename, kRemove };
  Kind kind = Kind::kWrite;
  std::string path;  // beneath the folder; empty: the folder itself
  std::string to;    // of a rename
  std::string bytes;
};

// Records from its construction to its destruction; one at a time, one thread.
class RecordedDisk {
 public:
  explicit RecordedDisk(const std::filesystem::path& folder);
  ~RecordedDisk();
  RecordedDisk(const RecordedDisk&) = delete;
  RecordedDisk& operator=(const RecordedDisk&) = delete;

  // What succeeded, in order.
  const std::vector<DiskCall>& calls() const { return calls_; }
  // Calls so far, failed ones included.
  std::size_t count() const { return count_; }

  // The call of this number (from 0) fails, once. A close closes all the same, as Linux's does.
  void FailAt(std::size_t number, int error);
  // From the call of this number on the disk is full: nothing is made or written, but for half of the first write.
  void FillAt(std::size_t number);
  // Takes both back.
  void Mend();
  // The call that failed first; nothing when none did.
  const std::optional<DiskCall>& failed() const { return failed_; }

  // For the functions that stand in for the C library's. `kNoError`: go on; a write may be cut short.
  int Attempt(const DiskCall& call, std::size_t* write_bytes);
  void Record(DiskCall call) { calls_.push_back(std::move(call)); }
  // The place of a name in an open folder; nothing when it lies outside.
  std::optional<std::string> PathOf(int descriptor, const char* name) const;

 private:
  const std::string folder_;
  std::vector<DiskCall> calls_;
  std::size_t count_ = 0;
  std::optional<std::size_t> fail_at_;
  int fail_error_ = 0;
  std::optional<std::size_t> full_from_;
  std::optional<DiskCall> failed_;
};

// What became of everything that was not synced when the power failed. POSIX promises no more than what each of these
// says: a file's bytes with fsync of the file, a name with fsync of its folder.
enum class Unsynced {
  kLost,
  kNamesKept,  // but no bytes
  kSomeLost,   // any of it, names and bytes alike, as `random` has it; files cut anywhere or filled with zeros
};

// Makes in `folder` what such a disk holds after the first `count` calls.
void WriteDiskAfterCrash(const std::vector<DiskCall>& calls, std::size_t count, Unsynced fate, std::mt19937& random,
                         const std::filesystem::path& folder);

}  // namespace mantissa::trainer
