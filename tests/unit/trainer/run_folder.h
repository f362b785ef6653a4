// Where a run reads its data and keeps its checkpoints: the two roots of a worker, in a folder that goes with its
// owner.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "process/roots.h"

namespace mantissa::trainer {

inline constexpr char kJob[] = "01j00000000000000000000000";

class RunFolder {
 public:
  RunFolder() : path_(Make()), roots_(OpenRoots(path_)) {}
  ~RunFolder() { std::filesystem::remove_all(path_); }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const process::Roots& roots() const { return roots_; }
  const process::OpenRoot& checkpoint_root() const { return *roots_.Find("checkpoints"); }
  std::filesystem::path data() const { return path_ / "data"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  static std::string Read(const std::filesystem::path& name) {
    std::ifstream file(name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void Write(const std::filesystem::path& name, const std::string& bytes) {
    std::ofstream(name, std::ios::binary | std::ios::trunc) << bytes;
  }
  // Changes one bit in the middle of a file.
  static void Damage(const std::filesystem::path& name) {
    std::string bytes = Read(name);
    ASSERT_FALSE(bytes.empty()) << name;
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    Write(name, bytes);
  }

 private:
  // In memory where there is such a place: the many syncs of these tests prove nothing about a disk.
  static std::filesystem::path Make() {
    const std::filesystem::path memory = "/dev/shm";
    const bool there = std::filesystem::is_directory(memory);
    std::string pattern = ((there ? memory : std::filesystem::temp_directory_path()) / "mantissa-run-XXXXXX").string();
    const std::filesystem::path path = ::mkdtemp(pattern.data());
    std::filesystem::create_directory(path / "data");
    std::filesystem::create_directory(path / "checkpoints");
    return path;
  }
  static process::Roots OpenRoots(const std::filesystem::path& path) {
    auto roots = process::Roots::Open(
        {{"data", (path / "data").string(), false}, {"checkpoints", (path / "checkpoints").string(), true}});
    EXPECT_TRUE(roots.ok()) << roots.status();
    return *std::move(roots);
  }

  const std::filesystem::path path_;
  const process::Roots roots_;
};

}  // namespace mantissa::trainer
