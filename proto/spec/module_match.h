// What a `match` in a spec covers: modules and parameters by their path or type, never by a piece of a name. The
// grammar stands at ParameterGroup.match.
#pragma once

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/spec/model_shape.h"

namespace mantissa::spec {

// Immutable; thread-safe.
class ModuleMatch {
 public:
  // What is wrong with the form of a pattern, and what is allowed; empty when nothing is.
  static std::string FaultOf(const std::string& pattern);

  // `pattern` is without fault.
  explicit ModuleMatch(const std::string& pattern);

  bool Covers(const Parameter& parameter) const;
  // A module or parameter at `path` that is of these types.
  bool Covers(std::string_view path, std::initializer_list<std::string_view> types) const;

 private:
  bool CoversPath(std::string_view path) const;

  std::string type_;                // empty where the pattern is a path
  std::vector<std::string> parts_;  // of the path
};

// The module of a parameter: `layers.0` of `layers.0.weight`.
std::string ModuleOf(const std::string& parameter);

// `blocks.3.norm1` -> `blocks.*.norm1`: layers are alike.
std::string WithoutIndices(const std::string& path);

// The paths and types that a pattern can name, to say which one was probably meant. Immutable; thread-safe.
class MatchableNames {
 public:
  // `paths` are those of modules and parameters; every module above one counts too.
  MatchableNames(const std::vector<std::string>& paths, const std::vector<std::string>& types);

  // Empty where nothing is near.
  std::string Nearest(const std::string& pattern) const;

 private:
  // By the path with its indices replaced by stars, since layers are alike: one of them stands for all.
  std::map<std::string, std::set<std::string>> alike_;
};

}  // namespace mantissa::spec
