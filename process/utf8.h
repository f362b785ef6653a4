// Text that may hold any bytes, made fit for a string of protobuf: one that is not UTF-8 is written without complaint,
// and refused, with the whole message around it, where it is read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mantissa::process {

// Bytes of the UTF-8 character at the start of `text`, which is not empty; 0 when the bytes there are not one (RFC
// 3629: no overlong forms, no surrogates, nothing past U+10FFFF).
std::size_t Utf8Length(std::string_view text);

// The characters of `text` that fit in `max_bytes`; each byte that belongs to none becomes U+FFFD.
std::string Utf8Prefix(std::string_view text, std::size_t max_bytes);

}  // namespace mantissa::process
