// One file of tokens as llm.c writes it: a header of 256 32-bit numbers (magic, version, count, zeros), then the
// tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace mantissa::trainer {

// INVALID_ARGUMENT says what is wrong with the file, or which token is outside the vocabulary, and what would be right;
// naming the file is the caller's. Any bytes may be given. Appends nothing unless the header is good.
absl::Status AppendTokens(std::string_view bytes, std::int64_t vocabulary, std::vector<std::int32_t>& tokens);

}  // namespace mantissa::trainer
