#pragma once

#include <string>

#include "client/cli/console.h"
#include "client/cli/output/output_format.h"

namespace mantissa::cli {

struct TokenOptions {
  std::string tenant;
  std::string role;
  std::string name;       // for people
  std::string append_to;  // the server's file of tokens; empty: the line is printed
};

// Makes a token and its line for a server's file of tokens. The token is printed once and kept nowhere. Speaks to no
// server.
int Token(const Console& console, OutputFormat format, const TokenOptions& options);

}  // namespace mantissa::cli
