// Identities and secrets: ULIDs, tokens, UUIDs, hexadecimal text.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::process {

// Fills the span with random bytes. Whoever passes one decides how good they are; ids and tokens of a program take
// SystemRandom.
using RandomSource = std::function<void(absl::Span<std::uint8_t>)>;

// The kernel's generator, getrandom(2); never fails once the machine has booted. Thread-safe.
void SystemRandom(absl::Span<std::uint8_t> bytes);

// ULIDs (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits, 26 characters of Crockford's base 32, here in
// lower case, so that text order is time order. Each is greater than the one before it, even within a millisecond and
// when the wall clock steps back. Thread-safe.
class UlidSource {
 public:
  explicit UlidSource(RandomSource random = SystemRandom);

  std::string Next(WallTime now);

 private:
  const RandomSource random_;
  Mutex mutex_;
  std::uint64_t milliseconds_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint16_t random_high_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t random_low_ ABSL_GUARDED_BY(mutex_) = 0;
};

// 26 characters of the lower-case alphabet, at most 2^128 - 1.
bool IsUlid(std::string_view text);

// The 16 raw bytes of a fencing token.
std::string RandomToken(const RandomSource& random = SystemRandom);

// A random (version 4) UUID: 36 characters, lower case.
std::string RandomUuid(const RandomSource& random = SystemRandom);
bool IsUuid(std::string_view text);

std::string HexEncode(std::string_view bytes);
absl::StatusOr<std::string> HexDecode(std::string_view hex);

// Takes the same time wherever the two differ, so that a caller can't guess a token byte by byte. Unequal lengths are
// unequal at once: the length of a token is no secret.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

}  // namespace mantissa::process
