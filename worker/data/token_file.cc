#include "worker/data/token_file.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace mantissa::trainer {
namespace {

// The files are little-endian, and so is every machine that we run on.
static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kHeaderBytes = 256 * sizeof(std::int32_t);

// What a file may be, by the first numbers of its header: magic, version.
struct TokenFormat {
  std::int32_t magic = 0;
  std::int32_t version = 0;
  std::size_t token_bytes = 0;
};
constexpr std::array<TokenFormat, 2> kFormats = {TokenFormat{20240520, 1, 2},   // GPT-2: uint16
                                                 TokenFormat{20240801, 7, 4}};  // Llama 3: uint32

std::int32_t HeaderNumber(std::string_view bytes, std::size_t at) {
  std::int32_t number = 0;
  std::memcpy(&number, bytes.data() + at * sizeof(number), sizeof(number));
  return number;
}

absl::StatusOr<TokenFormat> FormatOf(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the file is cut off inside its header: ", bytes.size(),
                                                   " bytes of ", kHeaderBytes, "; copy it again"));
  }
  const std::int32_t magic = HeaderNumber(bytes, 0);
  const std::int32_t version = HeaderNumber(bytes, 1);
  for (const TokenFormat& format : kFormats) {
    if (magic != format.magic) continue;
    if (version == format.version) return format;
    return absl::InvalidArgumentError(absl::StrCat("the file is of version ", version, "; with magic ", magic,
                                                   " version ", format.version, " is read: write it anew"));
  }
  return absl::InvalidArgumentError(absl::StrCat("the file begins with ", magic,
                                                 "; 20240520 (uint16 tokens) or 20240801 (uint32 tokens) is read: "
                                                 "give a .bin file that llm.c's data scripts wrote"));
}

// How many tokens there are, once the header is held against the file's size.
absl::StatusOr<std::int64_t> CountOf(std::string_view bytes, const TokenFormat& format) {
  const std::int64_t announced = HeaderNumber(bytes, 2);
  const std::size_t payload = bytes.size() - kHeaderBytes;
  const auto wanted = static_cast<std::uint64_t>(announced) * format.token_bytes;
  if (announced < 0 || payload != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat(announced >= 0 && payload < wanted ? "the file is truncated" : "the file does not have its length",
                     ": its header announces ", announced, " tokens of ", format.token_bytes, " bytes and ", payload,
                     " bytes follow; copy it again"));
  }
  return announced;
}

template <class Token>
absl::Status Append(std::string_view payload, std::int64_t vocabulary, std::vector<std::int32_t>& tokens) {
  const std::size_t count = payload.size() / sizeof(Token);
  tokens.reserve(tokens.size() + count);
  for (std::size_t i = 0; i < count; ++i) {
    Token token = 0;
    std::memcpy(&token, payload.data() + i * sizeof(Token), sizeof(Token));
    if (static_cast<std::int64_t>(token) >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("token ", i, " is ", token, ", and the vocabulary is ", vocabulary,
                                                     ": 0 to ", vocabulary - 1,
                                                     "; correct the file, or set tokens.vocabulary"));
    }
    tokens.push_back(static_cast<std::int32_t>(token));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AppendTokens(std::string_view bytes, std::int64_t vocabulary, std::vector<std::int32_t>& tokens) {
  const absl::StatusOr<TokenFormat> format = FormatOf(bytes);
  if (!format.ok()) return format.status();
  if (const absl::StatusOr<std::int64_t> count = CountOf(bytes, *format); !count.ok()) return count.status();
  const std::string_view payload = bytes.substr(kHeaderBytes);
  return format->token_bytes == 2 ? Append<std::uint16_t>(payload, vocabulary, tokens)
                                  : Append<std::uint32_t>(payload, vocabulary, tokens);
}

}  // namespace mantissa::trainer
