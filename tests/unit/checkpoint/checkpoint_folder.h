// A temporary folder served as the writable root `checkpoints`, and a small checkpoint to put there.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "process/roots.h"
#include "worker/checkpoint/checkpoint_store.h"

namespace mantissa::trainer {

inline constexpr char kJob[] = "01j00000000000000000000000";

inline process::OpenRoot OpenCheckpointRoot(const std::filesystem::path& path) {
  auto root = process::OpenRoot::Open({"checkpoints", path.string(), true});
  EXPECT_TRUE(root.ok()) << root.status();
  return *std::move(root);
}

class CheckpointFolder {
 public:
  CheckpointFolder() : path_(Make()), root_(OpenCheckpointRoot(path_)) {}
  ~CheckpointFolder() { std::filesystem::remove_all(path_); }
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const process::OpenRoot& root() const { return root_; }
  CheckpointStore Store() const { return CheckpointStore(root_, kJob); }

  std::string Read(const std::string& name) const {
    std::ifstream file(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  // In memory where there is such a place: the many syncs of these tests prove nothing about a disk.
  static std::filesystem::path Make() {
    const std::filesystem::path memory = "/dev/shm";
    const bool there = std::filesystem::is_directory(memory);
    const std::filesystem::path parent = there ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "mantissa-checkpoint-XXXXXX").string();
    return ::mkdtemp(pattern.data());
  }

  std::filesystem::path path_;
  process::OpenRoot root_;
};

inline Manifest FactsAt(std::int64_t step, std::int64_t iteration) {
  Manifest facts;
  facts.job_id = kJob;
  facts.attempt = 1;
  facts.step = step;
  facts.iteration = iteration;
  facts.finite = true;
  return facts;
}

// Two files whose bytes follow from `seed`; `storage` owns them.
inline std::vector<CheckpointFile> FilesOf(char seed, std::vector<std::string>& storage, std::size_t size = 16) {
  storage = {std::string(size, seed), std::string(size, static_cast<char>(seed + 1))};
  const auto elements = static_cast<std::int64_t>(size / 4);
  return {{"model.safetensors", {{"w", TensorType::kF32, {elements}, storage[0]}}, {}},
          {"optimizer.safetensors", {{"m.w", TensorType::kF32, {elements}, storage[1]}}, {}}};
}

}  // namespace mantissa::trainer
