#include "client/cli/completion_words.h"

#include <utility>

#include "absl/strings/str_split.h"

#include "client/cli/command_tree.h"
#include "client/cli/commands/explain.h"

namespace mantissa::cli {
namespace {

CompletionWord WordOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type == kJobType) return {CompletionWord::Kind::kJob, {}};
  if (type == kFileType) return {CompletionWord::Kind::kFile, {}};
  if (type == kExplainedType) return {CompletionWord::Kind::kChoice, ExplainedNames()};
  if (type.find('|') != std::string::npos) return {CompletionWord::Kind::kChoice, absl::StrSplit(type, '|')};
  return {};
}

void AddOptions(const CLI::App& app, std::vector<CompletionOption>& options, std::vector<CompletionWord>* positionals) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      if (positionals != nullptr) positionals->push_back(WordOf(*option));
      continue;
    }
    CompletionOption entry;
    for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
    entry.help = option->get_description();
    entry.takes_value = option->get_items_expected_max() > 0;
    entry.value = WordOf(*option);
    options.push_back(std::move(entry));
  }
}

}  // namespace

CompletionTree CompletionWords(const CLI::App& app) {
  CompletionTree tree;
  tree.program = app.get_name();
  AddOptions(app, tree.options, nullptr);
  for (const CLI::App* command : app.get_subcommands({})) {
    CompletionCommand entry;
    entry.name = command->get_name();
    entry.help = command->get_description();
    AddOptions(*command, entry.options, &entry.positionals);
    tree.commands.push_back(std::move(entry));
  }
  return tree;
}

}  // namespace mantissa::cli
