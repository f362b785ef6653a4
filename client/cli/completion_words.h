// What completion offers, read off the declared commands, so that it can't fall behind them.
#pragma once

#include <CLI/CLI.hpp>

#include "client/cli/commands/completion.h"

namespace mantissa::cli {

// Options by their names and help; what stands somewhere by its type name (command_tree.h), choices split at '|'.
CompletionTree CompletionWords(const CLI::App& app);

}  // namespace mantissa::cli
