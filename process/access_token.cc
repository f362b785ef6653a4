#include "process/access_token.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include <openssl/sha.h>

#include "process/small_file.h"

namespace mantissa::process {
namespace {

constexpr char kTokenPrefix[] = "mantissa_";
constexpr char kHashPrefix[] = "sha256:";
constexpr std::size_t kTokenBytes = 32;
constexpr std::size_t kHashDigits = 2 * SHA256_DIGEST_LENGTH;
constexpr std::size_t kMaxNameBytes = 128;
constexpr std::size_t kMaxTokenBytes = 4'096;

constexpr std::array<std::pair<Role, std::string_view>, 3> kRoles = {
    {{Role::kReader, "reader"}, {Role::kUser, "user"}, {Role::kAdmin, "admin"}}};

bool IsHash(std::string_view text) {
  return text.size() == kHashDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Of one line that is neither empty nor a comment; what is wrong with it otherwise.
absl::StatusOr<TokenEntry> ParseLine(const std::string& line) {
  std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() < 3)
    return absl::InvalidArgumentError("has no hash, tenant and role; `mantissa token` makes a line");
  TokenEntry entry;
  absl::string_view hash = words[0];
  if (!absl::ConsumePrefix(&hash, kHashPrefix) || !IsHash({hash.data(), hash.size()})) {
    return absl::InvalidArgumentError(
        "does not begin with sha256: and 64 lower-case hexadecimal digits; `mantissa token` makes a line, and a token "
        "itself has no place in this file");
  }
  entry.sha256 = std::string(hash);
  entry.tenant = words[1];
  if (!IsAccessName(entry.tenant)) {
    return absl::InvalidArgumentError("names a tenant that is none: 1 to 63 of a-z, 0-9 and -, such as vision");
  }
  const std::optional<Role> role = ParseRole(words[2]);
  if (!role) return absl::InvalidArgumentError("has a role that is none of reader, user and admin");
  entry.role = *role;
  words.erase(words.begin(), words.begin() + 3);
  entry.name = absl::StrJoin(words, " ");
  if (entry.name.size() > kMaxNameBytes) return absl::InvalidArgumentError("has a name of more than 128 bytes");
  return entry;
}

}  // namespace

std::string_view RoleName(Role role) {
  for (const auto& [known, name] : kRoles) {
    if (known == role) return name;
  }
  return "none";
}

std::optional<Role> ParseRole(std::string_view text) {
  for (const auto& [role, name] : kRoles) {
    if (name == text) return role;
  }
  return std::nullopt;
}

bool IsAccessName(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

std::string NewToken(const RandomSource& random) {
  std::array<std::uint8_t, kTokenBytes> bytes;
  random(absl::MakeSpan(bytes));
  return absl::StrCat(kTokenPrefix, HexEncode({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

std::string TokenHash(std::string_view token) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return HexEncode({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string FormatTokenEntry(const TokenEntry& entry) {
  return absl::StrCat(kHashPrefix, entry.sha256, " ", entry.tenant, " ", std::string(RoleName(entry.role)),
                      entry.name.empty() ? "" : " ", entry.name);
}

absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text) {
  std::vector<TokenEntry> entries;
  std::vector<std::string> problems;
  std::set<std::string> hashes;
  int number = 0;
  for (const absl::string_view raw : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    const std::string line(absl::StripAsciiWhitespace(raw));
    if (line.empty() || line[0] == '#') continue;
    absl::StatusOr<TokenEntry> entry = ParseLine(line);
    if (!entry.ok()) {
      problems.push_back(absl::StrCat("line ", number, " ", entry.status().message()));
    } else if (!hashes.insert(entry->sha256).second) {
      problems.push_back(absl::StrCat("line ", number, " has a token that a line above has, too; keep one"));
    } else {
      entries.push_back(*std::move(entry));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "; "));
  return entries;
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  const std::string token(absl::StripAsciiWhitespace(*text));
  const bool printable = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (token.empty() || token.size() > kMaxTokenBytes || !printable) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " does not hold one token and nothing else; `mantissa token` makes one"));
  }
  return token;
}

}  // namespace mantissa::process
