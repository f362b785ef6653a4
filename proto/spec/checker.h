// Collects the violations of one message and says them all in the same way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/duration.pb.h>

#include "proto/spec/violation.h"

namespace mantissa::spec {

// Which numbers are right. Both ends are finite; NaN and the infinities are never inside.
struct Interval {
  double min = 0;
  double max = 0;
  bool min_open = false;
  bool max_open = false;
};

// Writes into a list that outlives it. Not thread-safe.
class Checker {
 public:
  Checker(std::vector<Violation>& violations, std::string path);

  // The checker of a message beneath this one.
  Checker Beneath(std::string_view field) const;

  void Add(std::string_view field, ViolationReason reason, std::string description);

  // One that was found elsewhere, with its whole path.
  void Add(Violation violation);
  // Violations found so far, by this checker and others of the same list.
  std::size_t count() const { return violations_.size(); }

  // Each returns whether the value is right. `example` is one that is.
  bool Whole(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max, std::int64_t example);
  bool Number(std::string_view field, double value, const Interval& interval, std::string_view example);
  // A valid protobuf duration of at least (or, with `above_zero`, above) zero and at most `max_seconds`.
  bool Duration(std::string_view field, const google::protobuf::Duration& value, bool above_zero,
                std::int64_t max_seconds, std::string_view example);
  // `root-name:relative/path`
  bool Path(std::string_view field, const std::string& value);
  // `known` is what the generated _IsValid says of it.
  bool KnownEnum(std::string_view field, int value, bool known);
  void Unimplemented(std::string_view field, std::string_view what, std::string_view remedy);

  // The field's whole path.
  std::string PathOf(std::string_view field) const;

 private:
  std::vector<Violation>& violations_;
  const std::string path_;
};

// `field[index]`
std::string Indexed(std::string_view field, int index);

// Text from outside, quoted, escaped and cut to a length that fits a message.
std::string Shown(std::string_view text);

}  // namespace mantissa::spec
