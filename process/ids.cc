#include "process/ids.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <sys/random.h>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"

namespace mantissa::process {
namespace {

constexpr std::string_view kBase32 = "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford's: no i, l, o, u
constexpr std::size_t kUlidCharacters = 26;
constexpr std::size_t kTokenBytes = 16;

bool IsLowerHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

std::string Encode128(std::uint64_t high, std::uint64_t low) {
  std::string text(kUlidCharacters, '0');
  for (std::size_t i = kUlidCharacters; i-- > 0;) {
    text[i] = kBase32[low & 31];
    low = (low >> 5) | (high << 59);
    high >>= 5;
  }
  return text;
}

}  // namespace

void SystemRandom(absl::Span<std::uint8_t> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) std::abort();  // no kernel we run on lacks it, and a weak token must never leave
    done += static_cast<std::size_t>(got);
  }
}

UlidSource::UlidSource(RandomSource random) : random_(std::move(random)) {}

std::string UlidSource::Next(WallTime now) {
  // WallTime ends in 2262, well within the 48 bits.
  const std::int64_t since_epoch = std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const auto milliseconds = static_cast<std::uint64_t>(std::max<std::int64_t>(since_epoch, 0));
  std::array<std::uint8_t, 10> fresh;
  random_(absl::MakeSpan(fresh));
  MutexLock lock(mutex_);
  if (milliseconds > milliseconds_) {
    milliseconds_ = milliseconds;
    random_high_ = static_cast<std::uint16_t>(fresh[0] << 8 | fresh[1]);
    random_low_ = 0;
    for (std::size_t i = 2; i < fresh.size(); ++i) random_low_ = random_low_ << 8 | fresh[i];
  } else if (++random_low_ == 0 && ++random_high_ == 0) {
    ++milliseconds_;  // 2^80 ids in one millisecond, or a random part that began at its end
  }
  return Encode128(milliseconds_ << 16 | random_high_, random_low_);
}

bool IsUlid(std::string_view text) {
  return text.size() == kUlidCharacters && text[0] <= '7' &&
         std::all_of(text.begin(), text.end(), [](char c) { return kBase32.find(c) != std::string_view::npos; });
}

std::string RandomToken(const RandomSource& random) {
  std::array<std::uint8_t, kTokenBytes> bytes;
  random(absl::MakeSpan(bytes));
  return std::string(bytes.begin(), bytes.end());
}

std::string RandomUuid(const RandomSource& random) {
  std::string bytes = RandomToken(random);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);  // version 4
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);  // the variant of RFC 4122
  std::string text = HexEncode(bytes);
  for (const std::size_t at : {20, 16, 12, 8}) text.insert(at, 1, '-');
  return text;
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !IsLowerHex(text[i])) return false;
  }
  return true;
}

std::string HexEncode(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

absl::StatusOr<std::string> HexDecode(std::string_view hex) {
  const auto digit = [](char c) { return IsLowerHex(c) || (c >= 'A' && c <= 'F'); };
  if (hex.size() % 2 != 0 || !std::all_of(hex.begin(), hex.end(), digit)) {
    return absl::InvalidArgumentError("not hexadecimal text: an even number of 0-9 and a-f is needed");
  }
  return absl::HexStringToBytes(absl::string_view(hex.data(), hex.size()));
}

bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  // volatile keeps the compiler from leaving the loop at the first difference.
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference =
        static_cast<unsigned char>(difference | (static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])));
  }
  return difference == 0;
}

}  // namespace mantissa::process
