// Iteration records gathered row by row and sent column by column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"
#include "worker/amp/iteration_record.h"

namespace mantissa::trainer {

// A column whose rows may lack a value. Not thread-safe.
template <typename T>
class OptionalColumn {
 public:
  void Add(const std::optional<T>& value) {
    if (rows_ % 8 == 0) present_.push_back('\0');
    if (value) {
      present_.back() = static_cast<char>(present_.back() | 1 << (rows_ % 8));
      values_.push_back(*value);
    }
    ++rows_;
  }
  void Clear() {
    values_.clear();
    present_.clear();
    rows_ = 0;
  }
  bool empty() const { return values_.empty(); }
  bool full() const { return values_.size() == rows_; }
  const std::vector<T>& values() const { return values_; }
  const std::string& present() const { return present_; }

 private:
  std::vector<T> values_;
  std::string present_;
  std::size_t rows_ = 0;
};

// Not thread-safe.
class RecordColumns {
 public:
  // With a loss scale, its three columns are there too.
  explicit RecordColumns(bool scaled) : scaled_(scaled) {}

  void Add(const IterationRecord& record);
  std::int32_t rows() const { return static_cast<std::int32_t>(iteration_.size()); }

  // Moves the rows out; none are left.
  v1::RecordColumns Take();

  // What is known of the rows when they can't be sent.
  v1::GapSummary Summary() const;
  void Clear();

 private:
  const bool scaled_;
  std::vector<std::int64_t> iteration_, step_, lineage_, time_, phase_, growth_, hysteresis_;
  std::vector<double> loss_, loss_scale_, learning_rate_, seconds_, samples_per_second_;
  std::vector<char> applied_;
  OptionalColumn<std::int64_t> cause_, memory_, peak_memory_;
  OptionalColumn<double> grad_norm_;
};

}  // namespace mantissa::trainer
