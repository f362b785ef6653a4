// What every command that talks to a server gets.
#pragma once

#include <string>

#include "client/cli/connection.h"
#include "client/cli/console.h"
#include "client/cli/output/output_format.h"

namespace mantissa::cli {

struct Context {
  const Console& console;
  Connection& connection;
  OutputFormat format = OutputFormat::kTable;
  // Repeats --address in the commands we suggest, when it was given: ` --address X`.
  std::string address_flag;
};

}  // namespace mantissa::cli
