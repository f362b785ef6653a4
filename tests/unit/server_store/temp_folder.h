#pragma once

#include <filesystem>
#include <stdlib.h>
#include <string>

namespace mantissa::server {

// A folder that goes with its owner.
class TempFolder {
 public:
  // In memory where there is such a place: for tests whose many syncs prove nothing about a disk.
  struct InMemory {};
  explicit TempFolder(InMemory) : TempFolder(std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : Default()) {}
  TempFolder() : TempFolder(Default()) {}

  explicit TempFolder(const std::filesystem::path& parent) {
    std::string pattern = (parent / "mantissa-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  static std::filesystem::path Default() { return std::filesystem::temp_directory_path(); }

  std::string path_;
};

}  // namespace mantissa::server
