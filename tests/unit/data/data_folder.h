// A temporary folder served as the root `data`.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "process/roots.h"

namespace mantissa::trainer {

class DataFolder {
 public:
  DataFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mantissa-data-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~DataFolder() { std::filesystem::remove_all(path_); }
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void Write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }

  process::Roots Open() const {
    auto roots = process::Roots::Open({{"data", path_.string(), false}});
    EXPECT_TRUE(roots.ok()) << roots.status();
    return *std::move(roots);
  }

 private:
  std::filesystem::path path_;
};

inline std::string IdxBytes(const std::vector<std::uint32_t>& sizes, const std::string& elements) {
  std::string bytes = {0, 0, 8, static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(size >> shift));
  }
  return bytes + elements;
}

}  // namespace mantissa::trainer
