#include "proto/spec/module_match.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "process/nearest_name.h"

namespace mantissa::spec {
namespace {

constexpr std::size_t kMaxPatternBytes = 256;
constexpr char kOne[] = "*";
constexpr char kAny[] = "**";

bool IsType(std::string_view pattern) { return !pattern.empty() && pattern.front() >= 'A' && pattern.front() <= 'Z'; }

bool IsIndex(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The next part of a path, which is taken off it.
std::string_view TakePart(std::string_view* path) {
  const std::size_t dot = path->find('.');
  const std::string_view part = path->substr(0, dot);
  path->remove_prefix(dot == std::string_view::npos ? path->size() : dot + 1);
  return part;
}

}  // namespace

std::string ModuleMatch::FaultOf(const std::string& pattern) {
  constexpr char kAllowed[] = "a path such as blocks.*.attention, or a type such as LayerNorm, is allowed";
  if (pattern.size() > kMaxPatternBytes) {
    return absl::StrCat("has ", pattern.size(), " bytes; at most ", kMaxPatternBytes, " are allowed");
  }
  if (IsType(pattern) && pattern.find_first_of(".*") != std::string::npos) {
    return absl::StrCat("begins with a capital letter like a type, which has neither dots nor stars; ", kAllowed);
  }
  const std::vector<std::string> parts = absl::StrSplit(pattern, '.');
  for (const std::string& part : parts) {
    if (part.empty()) return absl::StrCat("has an empty part; ", kAllowed);
    if (part != kOne && part != kAny && part.find('*') != std::string::npos) {
      return absl::StrCat("has a star beside other characters, but a star stands for a whole part; ", kAllowed);
    }
  }
  return "";
}

ModuleMatch::ModuleMatch(const std::string& pattern) {
  if (IsType(pattern)) {
    type_ = pattern;
  } else {
    parts_ = absl::StrSplit(pattern, '.');
  }
}

bool ModuleMatch::Covers(const Parameter& parameter) const {
  return Covers(parameter.path, {ModuleTypeName(parameter.module), ParameterKindName(parameter.kind)});
}

bool ModuleMatch::Covers(std::string_view path, std::initializer_list<std::string_view> types) const {
  if (type_.empty()) return CoversPath(path);
  return std::find(types.begin(), types.end(), type_) != types.end();
}

// Takes parts off the path as the pattern's ask for them. After a mismatch the last `**` takes one part more; earlier
// ones need not, as in any matching of wildcards.
bool ModuleMatch::CoversPath(std::string_view path) const {
  std::size_t next = 0;
  bool any = false;
  std::size_t after_any = 0;
  std::string_view retry;
  while (!path.empty()) {
    if (next == parts_.size()) return true;  // what is left lies beneath
    if (parts_[next] == kAny) {
      any = true;
      after_any = ++next;
      retry = path;
      continue;
    }
    const std::string_view part = TakePart(&path);
    if (parts_[next] == kOne || parts_[next] == part) {
      ++next;
    } else if (any) {
      TakePart(&retry);
      path = retry;
      next = after_any;
    } else {
      return false;
    }
  }
  return std::all_of(parts_.begin() + static_cast<std::ptrdiff_t>(next), parts_.end(),
                     [](const std::string& part) { return part == kAny; });
}

std::string ModuleOf(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

std::string WithoutIndices(const std::string& path) {
  std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (std::string& part : parts) {
    if (IsIndex(part)) part = kOne;
  }
  return absl::StrJoin(parts, ".");
}

MatchableNames::MatchableNames(const std::vector<std::string>& paths, const std::vector<std::string>& types) {
  for (const std::string& type : types) alike_[type].insert(type);
  const auto add = [&](const std::string& path) { alike_[WithoutIndices(path)].insert(path); };
  for (const std::string& path : paths) {
    for (std::size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
      add(path.substr(0, dot));
    }
    add(path);
  }
}

std::string MatchableNames::Nearest(const std::string& pattern) const {
  std::vector<std::string> kinds;
  for (const auto& [kind, names] : alike_) {
    if (IsType(kind) && absl::EqualsIgnoreCase(kind, pattern)) return kind;
    kinds.push_back(kind);
  }
  // The end of a path, which `**` would let it begin with.
  const std::string end = absl::StrCat(".", WithoutIndices(pattern));
  if (std::any_of(kinds.begin(), kinds.end(), [&](const std::string& kind) { return kind.ends_with(end); })) {
    return absl::StrCat("**", end);
  }
  const auto nearest = alike_.find(process::NearestName(WithoutIndices(pattern), kinds));
  if (nearest == alike_.end()) return "";
  if (pattern.find('*') != std::string::npos) return nearest->first;
  return process::NearestName(pattern, {nearest->second.begin(), nearest->second.end()});
}

}  // namespace mantissa::spec
