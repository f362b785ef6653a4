// A file of tokens. The first two bytes are the vocabulary that the spec says.
#include <string_view>
#include <vector>

#include "tests/fuzz/hang_guard.h"
#include "worker/data/token_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  if (size < 2) return 0;
  const std::int64_t vocabulary = 1 + (data[0] | data[1] << 8);
  std::vector<std::int32_t> tokens;
  const std::string_view file(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (!trainer::AppendTokens(file, vocabulary, tokens).ok()) return 0;
  fuzz::Require(tokens.size() <= file.size() / 2, "no more tokens than bytes for them");
  for (const std::int32_t token : tokens)
    fuzz::Require(token >= 0 && token < vocabulary, "tokens lie in the vocabulary");
  return 0;
}
