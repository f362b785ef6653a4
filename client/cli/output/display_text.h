// Text from outside made fit for a terminal, and its width there.
#pragma once

#include <string>
#include <string_view>

namespace mantissa::cli {

// Offset of the first byte that is not part of well-formed UTF-8; npos when there is none.
std::size_t FirstNonUtf8(std::string_view text);

// One line without control characters: line feeds and tabs become spaces, other controls (C0, DEL, C1) and malformed
// bytes become U+FFFD, so that nothing a server sends can move the cursor or recolour the terminal.
std::string ForTerminal(std::string_view text);

// As ForTerminal, with everything outside ASCII replaced: the signs the command line itself uses by their nearest
// equivalents, the rest by `?`.
std::string ToAscii(std::string_view text);

// Columns the text takes, with wide East Asian characters as two and combining ones as none.
int DisplayWidth(std::string_view text);

// At most `width` columns; what is cut ends in `ellipsis` where there is room for it.
std::string Clip(std::string_view text, int width, std::string_view ellipsis = "…");

// Filled up with spaces on the right, or on the left.
std::string PadRight(std::string_view text, int width);
std::string PadLeft(std::string_view text, int width);

}  // namespace mantissa::cli
