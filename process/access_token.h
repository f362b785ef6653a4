// Bearer tokens, and the file that says whose they are. The file holds their SHA-256 alone: who reads it learns no
// token, and 256 random bits need no salt and no slow hash.
//
//   # One token a line: hash, tenant, role, and a name for people, which may be left out.
//   sha256:9f86d081884c7d65...  vision  user   alice's laptop
//   sha256:60303ae22b998861...  vision  admin
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "process/ids.h"

namespace mantissa::process {

// What somebody may do in a tenant. Each role may do what those before it may.
enum class Role {
  kReader,  // looks
  kUser,    // submits and changes the tenant's jobs
  kAdmin,   // sees all tenants, and runs the service
};

// reader, user, admin.
std::string_view RoleName(Role role);
std::optional<Role> ParseRole(std::string_view text);

// [a-z0-9-]{1,63}, as a tenant and a worker are called: a name that can be a folder and a part of a URI.
bool IsAccessName(std::string_view text);

struct TokenEntry {
  std::string sha256;  // 64 lower-case hexadecimal digits, of the token's text
  std::string tenant;
  Role role = Role::kReader;
  std::string name;  // for people; may be empty
};

// "mantissa_" and 64 hexadecimal digits: 256 bits, and a prefix by which scanners for leaked secrets know it.
std::string NewToken(const RandomSource& random = SystemRandom);

// What a file holds of a token; `printf %s TOKEN | sha256sum` says the same.
std::string TokenHash(std::string_view token);

// Its line in the file, without a line feed.
std::string FormatTokenEntry(const TokenEntry& entry);

// INVALID_ARGUMENT says all that is wrong, each with its line, and repeats nothing of what stands there: it may be a
// token that was put there by mistake.
absl::StatusOr<std::vector<TokenEntry>> ParseTokenFile(std::string_view text);

// The token in a file of its own: its text without the white space around it. INVALID_ARGUMENT for what can't be one,
// NOT_FOUND for a file that can't be read; the message never repeats what is in the file.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace mantissa::process
