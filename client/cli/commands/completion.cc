#include "client/cli/commands/completion.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace mantissa::cli {
namespace {

using Kind = CompletionWord::Kind;

constexpr char kListJobs[] = "list -o name --limit 100 --rpc-timeout 1s 2>/dev/null";

// Help texts stand inside single quotes in all three shells.
std::string SingleQuoted(const std::string& text) { return absl::StrReplaceAll(text, {{"'", ""}, {"\n", " "}}); }

std::vector<std::string> NamesOf(const std::vector<CompletionOption>& options) {
  std::vector<std::string> names;
  for (const CompletionOption& option : options) names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

// The bash statement that offers the word.
std::string BashOffer(const CompletionWord& word) {
  switch (word.kind) {
    case Kind::kFile:
      return "COMPREPLY=($(compgen -f -- \"$current\")); compopt -o filenames";
    case Kind::kJob:
      return "COMPREPLY=($(compgen -W \"$(_mantissa_jobs)\" -- \"$current\"))";
    case Kind::kChoice:
      return absl::StrCat("COMPREPLY=($(compgen -W '", absl::StrJoin(word.choices, " "), "' -- \"$current\"))");
    case Kind::kNone:
      return "COMPREPLY=()";
  }
  return ":";
}

// Cases over the option before the cursor whose value is being written.
std::string BashValueCases(const std::vector<CompletionOption>& options, const std::string& indent) {
  std::string text;
  for (const CompletionOption& option : options) {
    if (!option.takes_value) continue;
    absl::StrAppend(&text, indent, absl::StrJoin(option.names, "|"), ") ", BashOffer(option.value), "; return ;;\n");
  }
  return text;
}

std::string BashValueOptions(const CompletionTree& tree) {
  std::vector<std::string> names;
  const auto add = [&](const std::vector<CompletionOption>& options) {
    for (const CompletionOption& option : options) {
      if (option.takes_value) names.insert(names.end(), option.names.begin(), option.names.end());
    }
  };
  add(tree.options);
  for (const CompletionCommand& command : tree.commands) add(command.options);
  return absl::StrJoin(names, "|");
}

}  // namespace

std::string BashCompletion(const CompletionTree& tree) {
  std::vector<std::string> commands;
  for (const CompletionCommand& command : tree.commands) commands.push_back(command.name);
  std::string text = absl::StrCat(
      "# bash completion for ", tree.program, "; load it with: source <(", tree.program, " completion bash)\n",
      "_mantissa_jobs() { ", tree.program, " ", kListJobs, "; }\n\n", "_mantissa() {\n",
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= position=0 i word\n",
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n", "    word=${COMP_WORDS[i]}\n", "    case $word in\n      ",
      BashValueOptions(tree), ") ((i++)) ;;\n", "      -*) ;;\n",
      "      *) if [[ -z $command ]]; then command=$word; else ((position++)); fi ;;\n", "    esac\n", "  done\n",
      "  case $previous in\n", BashValueCases(tree.options, "    "), "  esac\n", "  if [[ -z $command ]]; then\n",
      "    COMPREPLY=($(compgen -W '", absl::StrJoin(commands, " "), " ", absl::StrJoin(NamesOf(tree.options), " "),
      "' -- \"$current\"))\n", "    return\n", "  fi\n", "  case $command in\n");
  for (const CompletionCommand& command : tree.commands) {
    absl::StrAppend(&text, "    ", command.name, ")\n      case $previous in\n",
                    BashValueCases(command.options, "        "), "      esac\n",
                    "      if [[ $current == -* ]]; then\n        COMPREPLY=($(compgen -W '",
                    absl::StrJoin(NamesOf(command.options), " "), " ", absl::StrJoin(NamesOf(tree.options), " "),
                    "' -- \"$current\"))\n        return\n      fi\n      case $position in\n");
    for (std::size_t i = 0; i < command.positionals.size(); ++i) {
      const bool last = i + 1 == command.positionals.size();
      absl::StrAppend(&text, "        ", last ? "*" : std::to_string(i), ") ", BashOffer(command.positionals[i]),
                      " ;;\n");
    }
    absl::StrAppend(&text, "      esac ;;\n");
  }
  absl::StrAppend(&text, "  esac\n}\ncomplete -F _mantissa ", tree.program, "\n");
  return text;
}

namespace {

// In an _arguments specification colons and brackets have a meaning of their own.
std::string ZshHelp(const std::string& help) {
  return absl::StrReplaceAll(SingleQuoted(help), {{":", "\\:"}, {"[", "\\["}, {"]", "\\]"}});
}

std::string ZshAction(const CompletionWord& word) {
  switch (word.kind) {
    case Kind::kFile:
      return "file:_files";
    case Kind::kJob:
      return "job:_mantissa_jobs";
    case Kind::kChoice:
      return absl::StrCat("value:(", absl::StrJoin(word.choices, " "), ")");
    case Kind::kNone:
      return "value: ";
  }
  return "";
}

std::string ZshOptions(const std::vector<CompletionOption>& options, const std::string& indent) {
  std::string text;
  for (const CompletionOption& option : options) {
    for (const std::string& name : option.names) {
      absl::StrAppend(&text, " \\\n", indent, "'*", name, option.takes_value && name.size() > 2 ? "=" : "", "[",
                      ZshHelp(option.help), "]", option.takes_value ? ":" + ZshAction(option.value) : "", "'");
    }
  }
  return text;
}

}  // namespace

std::string ZshCompletion(const CompletionTree& tree) {
  std::string text =
      absl::StrCat("#compdef ", tree.program, "\n# zsh completion; load it with: source <(", tree.program,
                   " completion zsh), or save it as _", tree.program, " in a folder of $fpath\n",
                   "_mantissa_jobs() {\n", "  local -a jobs\n  jobs=(${(f)\"$(", tree.program, " ", kListJobs,
                   ")\"})\n  compadd -a jobs\n}\n\n", "_mantissa_commands() {\n  local -a commands\n  commands=(\n");
  for (const CompletionCommand& command : tree.commands) {
    absl::StrAppend(&text, "    '", command.name, ":", ZshHelp(command.help), "'\n");
  }
  absl::StrAppend(&text,
                  "  )\n  _describe command commands\n}\n\n_mantissa() {\n  local curcontext=$curcontext state line\n",
                  "  typeset -A opt_args\n  _arguments -C", ZshOptions(tree.options, "    "),
                  " \\\n    '1:command:_mantissa_commands' \\\n    '*::argument:->argument'\n",
                  "  [[ $state == argument ]] || return\n  case $words[1] in\n");
  for (const CompletionCommand& command : tree.commands) {
    absl::StrAppend(&text, "    ", command.name, ")\n      _arguments", ZshOptions(tree.options, "        "),
                    ZshOptions(command.options, "        "));
    for (std::size_t i = 0; i < command.positionals.size(); ++i) {
      const bool last = i + 1 == command.positionals.size();
      absl::StrAppend(&text, " \\\n        '", last ? "*" : std::to_string(i + 1), ":",
                      ZshAction(command.positionals[i]), "'");
    }
    absl::StrAppend(&text, " ;;\n");
  }
  absl::StrAppend(&text, "  esac\n}\n\nif [[ $funcstack[1] == _", tree.program, " ]]; then\n  _mantissa \"$@\"\nelse\n",
                  "  compdef _mantissa ", tree.program, "\nfi\n");
  return text;
}

namespace {

std::string FishOption(const std::string& program, const std::string& condition, const CompletionOption& option) {
  std::string text =
      absl::StrCat("complete -c ", program, condition.empty() ? "" : absl::StrCat(" -n '", condition, "'"));
  for (const std::string& name : option.names) {
    absl::StrAppend(&text, name.size() == 2 ? " -s " : " -l ", name.substr(name.size() == 2 ? 1 : 2));
  }
  if (option.takes_value) {
    absl::StrAppend(&text, option.value.kind == Kind::kFile ? " -r -F" : " -x");
    if (option.value.kind == Kind::kChoice)
      absl::StrAppend(&text, " -a '", absl::StrJoin(option.value.choices, " "), "'");
    if (option.value.kind == Kind::kJob) absl::StrAppend(&text, " -a '(__mantissa_jobs)'");
  }
  return absl::StrCat(text, " -d '", SingleQuoted(option.help), "'\n");
}

}  // namespace

std::string FishCompletion(const CompletionTree& tree) {
  std::string text = absl::StrCat("# fish completion; load it with: ", tree.program, " completion fish | source\n",
                                  "function __mantissa_jobs\n  ", tree.program, " ", kListJobs, "\nend\n\n",
                                  "complete -c ", tree.program, " -f\n");
  for (const CompletionOption& option : tree.options) text += FishOption(tree.program, "", option);
  for (const CompletionCommand& command : tree.commands) {
    absl::StrAppend(&text, "complete -c ", tree.program, " -n __fish_use_subcommand -a ", command.name, " -d '",
                    SingleQuoted(command.help), "'\n");
  }
  for (const CompletionCommand& command : tree.commands) {
    const std::string here = absl::StrCat("__fish_seen_subcommand_from ", command.name);
    for (const CompletionOption& option : command.options) text += FishOption(tree.program, here, option);
    // fish counts no positions; what any of them may be is offered.
    for (const CompletionWord& word : command.positionals) {
      const std::string line = absl::StrCat("complete -c ", tree.program, " -n '", here, "'");
      if (word.kind == Kind::kFile) absl::StrAppend(&text, line, " -F\n");
      if (word.kind == Kind::kJob) absl::StrAppend(&text, line, " -a '(__mantissa_jobs)'\n");
      if (word.kind == Kind::kChoice) absl::StrAppend(&text, line, " -a '", absl::StrJoin(word.choices, " "), "'\n");
    }
  }
  return text;
}

}  // namespace mantissa::cli
