// mantissa completion: scripts that let a shell complete commands, options, files and jobs.
#pragma once

#include <string>
#include <vector>

namespace mantissa::cli {

// What can stand somewhere on a command line.
struct CompletionWord {
  enum class Kind { kNone, kFile, kJob, kChoice };
  Kind kind = Kind::kNone;
  std::vector<std::string> choices;
};

struct CompletionOption {
  std::vector<std::string> names;  // `-o`, `--output`
  std::string help;
  bool takes_value = false;
  CompletionWord value;
};

struct CompletionCommand {
  std::string name;
  std::string help;
  std::vector<CompletionOption> options;
  std::vector<CompletionWord> positionals;  // the last one stands for all that follow
};

// The command tree as completion needs it.
struct CompletionTree {
  std::string program;
  std::vector<CompletionOption> options;  // good for every command
  std::vector<CompletionCommand> commands;
};

// Scripts for the shell to source. Job names come from `PROGRAM list -o name`.
std::string BashCompletion(const CompletionTree& tree);
std::string ZshCompletion(const CompletionTree& tree);
std::string FishCompletion(const CompletionTree& tree);

}  // namespace mantissa::cli
