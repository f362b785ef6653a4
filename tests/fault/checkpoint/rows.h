// What a server knows of one job's checkpoints: rows, and by its own policy which of them may go.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "mantissa/v1/job.pb.h"
#include "process/roots.h"
#include "server/core/checkpoint_policy.h"
#include "worker/checkpoint/checkpoint_store.h"

namespace mantissa::trainer {

class CheckpointRows {
 public:
  // Commits it; the paths that may now be deleted.
  std::vector<std::string> Commit(const v1::Checkpoint& checkpoint) {
    EXPECT_TRUE(server::CheckCheckpoint(checkpoint).ok()) << checkpoint.ShortDebugString();
    rows_.push_back(checkpoint);
    std::vector<std::string> deletions;
    for (const std::size_t i : Deletable()) {
      released_.insert(rows_[i].name());
      deletions.push_back(rows_[i].path());
    }
    return deletions;
  }

  // The next attempt resumes from `name`: nobody deletes it from under it.
  void BeginAttempt(const std::string& name) { resumed_from_ = name; }

  const std::vector<v1::Checkpoint>& all() const { return rows_; }
  // Newest first, as an assignment names them.
  std::vector<v1::Checkpoint> Kept() const {
    std::vector<v1::Checkpoint> kept;
    for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
      if (!released_.contains(row->name())) kept.push_back(*row);
    }
    return kept;
  }
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const v1::Checkpoint& row : rows_) names.insert(row.name());
    return names;
  }

  // Every row that was not released is whole, the newest and the last finite one among them; one that was is whole or
  // gone.
  void Verify(const process::OpenRoot& root, const std::string& job) const {
    const CheckpointStore store(root, job);
    const std::vector<v1::Checkpoint> kept = Kept();
    ASSERT_GE(kept.size(), std::min<std::size_t>(rows_.size(), 2));
    if (!rows_.empty()) {
      EXPECT_EQ(kept.front().name(), rows_.back().name());
    }
    EXPECT_EQ(std::any_of(rows_.begin(), rows_.end(), [](const auto& row) { return row.finite(); }),
              std::any_of(kept.begin(), kept.end(), [](const auto& row) { return row.finite(); }));
    for (const v1::Checkpoint& row : kept) {
      const absl::Status loaded = store.Load(row.path(), row.manifest_sha256()).status();
      EXPECT_TRUE(loaded.ok()) << row.name() << ": " << loaded;
    }
    for (const v1::Checkpoint& row : rows_) {
      if (!released_.contains(row.name())) continue;
      const absl::Status loaded = store.Load(row.path(), row.manifest_sha256()).status();
      EXPECT_TRUE(loaded.ok() || absl::IsNotFound(loaded)) << row.name() << ": " << loaded;
    }
  }

 private:
  std::vector<std::size_t> Deletable() const { return server::DeletableCheckpoints(rows_, 2, resumed_from_); }

  std::vector<v1::Checkpoint> rows_;  // oldest first
  std::set<std::string> released_;
  std::string resumed_from_;
};

// How often, from the environment; `usual` without it.
inline int Rounds(const char* variable, int usual) {
  const char* text = std::getenv(variable);
  return text == nullptr ? usual : std::max(1, std::atoi(text));
}

// Printed with every failure; MANTISSA_FAULT_SEED repeats a run's choices.
inline unsigned FaultSeed() {
  const char* text = std::getenv("MANTISSA_FAULT_SEED");
  return text == nullptr ? std::random_device()() : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

}  // namespace mantissa::trainer
