#include "client/cli/command_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "client/cli/command_tree.h"
#include "client/cli/completion_words.h"
#include "client/cli/output/display_text.h"
#include "process/nearest_name.h"
#include "process/settings.h"

namespace mantissa::cli {
namespace {

int PrintCompletion(const CommandTree& tree, const Console& console) {
  const CompletionTree words = CompletionWords(tree.app);
  const std::string shell = absl::AsciiStrToLower(tree.shell);
  console.out.Write(shell == "bash"  ? BashCompletion(words)
                    : shell == "zsh" ? ZshCompletion(words)
                                     : FishCompletion(words));
  return kExitOk;
}

// The first word that is neither an option nor the value of one.
std::string CommandGiven(const CLI::App& app, const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word.empty() || word[0] != '-') return word;
    const CLI::Option* option = app.get_option_no_throw(word);
    if (option != nullptr && option->get_items_expected_max() > 0) ++i;
  }
  return "";
}

int UsageError(const CLI::App& app, const std::vector<std::string>& arguments, const CLI::ParseError& error,
               const Console& console) {
  const std::string given = CommandGiven(app, arguments);
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
  const bool known = std::find(commands.begin(), commands.end(), given) != commands.end();
  std::string text;
  if (known) {
    text = absl::StrCat(ForTerminal(error.what()), "\n  see: mantissa ", given, " --help");
  } else if (given.empty()) {
    text = absl::StrCat(ForTerminal(error.what()), "\n  see: mantissa --help");
  } else {
    const std::string nearest = process::NearestName(given, commands);
    text =
        absl::StrCat("there is no command ", ForTerminal(given),
                     nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?"), "\n  see: mantissa --help");
  }
  return console.Fail(absl::InvalidArgumentError(text));
}

OutputFormat FormatOf(const std::string& text) {
  const std::string name = absl::AsciiStrToLower(text);
  if (name == "json") return OutputFormat::kJson;
  if (name == "yaml") return OutputFormat::kYaml;
  if (name == "csv") return OutputFormat::kCsv;
  return name == "name" ? OutputFormat::kName : OutputFormat::kTable;
}

ColorChoice ColorOf(const std::string& text) {
  const std::string name = absl::AsciiStrToLower(text);
  if (name == "always") return ColorChoice::kAlways;
  return name == "never" ? ColorChoice::kNever : ColorChoice::kAuto;
}

// Flags over MANTISSA_* over the file.
absl::Status LoadSettings(const GlobalOptions& global, const process::Environment& environment, std::string& address,
                          AccessSettings& access) {
  process::Settings settings("mantissa", {{"address", "", &address},
                                          {"tls-ca", "", &access.tls_ca},
                                          {"tls-certificate", "", &access.tls_certificate},
                                          {"tls-key", "", &access.tls_key},
                                          {"tls-server-name", "", &access.tls_server_name},
                                          {"token-file", "", &access.token_file},
                                          {"tenant", "", &access.tenant}});
  process::SettingTexts flags = global.settings;
  if (!global.address.empty()) flags["address"] = global.address;
  const std::string config = process::Settings::EnvironmentName(process::kConfigFlag);
  return settings.Load(flags, [&environment, &config](const std::string& name) {
    return environment(name == config ? kConfigVariable : name);
  });
}

int RunCommand(CommandTree& tree, const Console& console) {
  if (!tree.action) return PrintCompletion(tree, console);
  const GlobalOptions& global = tree.global;
  const OutputFormat format = FormatOf(global.output);
  if (format == OutputFormat::kCsv && !tree.app.got_subcommand("history") && !tree.app.got_subcommand("report")) {
    return console.Fail(absl::InvalidArgumentError("-o: only history and report print csv"));
  }
  std::string given;
  AccessSettings access_settings;
  const absl::Status loaded = LoadSettings(global, console.environment, given, access_settings);
  if (!loaded.ok() && tree.calls) return console.Fail(loaded);
  const absl::StatusOr<std::string> address = ParseAddress(given.empty() ? kDefaultAddress : std::string_view(given));
  if (!address.ok()) return console.Fail(address.status());
  absl::StatusOr<ChannelAccess> access = PlainText();
  if (tree.calls) access = OpenAccess(access_settings, *address, console.clock.WallNow());
  if (!access.ok()) return console.Fail(absl::InvalidArgumentError(access.status().message()));
  Connection connection(*address, global.rpc_timeout, *access);
  tree.validate.where = tree.local    ? ValidateOptions::Where::kLocal
                        : tree.server ? ValidateOptions::Where::kServer
                                      : ValidateOptions::Where::kBoth;
  return tree.action({.console = console,
                      .connection = connection,
                      .format = format,
                      .address_flag = global.address.empty() ? "" : " --address " + global.address});
}

}  // namespace

int RunCommandLine(const std::vector<std::string>& arguments, const Surroundings& around) {
  Console console{.out = around.out,
                  .err = around.err,
                  .out_look = {.terminal = around.out_is_terminal, .color = false},
                  .err_look = {.terminal = around.err_is_terminal, .color = false},
                  .utf8 = LocaleIsUtf8(around.environment),
                  .width = around.width,
                  .environment = around.environment,
                  .clock = around.clock};
  CommandTree tree;
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    tree.app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    console.out.Write(tree.app.help());
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return UsageError(tree.app, arguments, error, console);
  }
  const ColorChoice color = ColorOf(tree.global.color);
  console.out_look.color = WantsColor(color, around.out_is_terminal, around.environment);
  console.err_look.color = WantsColor(color, around.err_is_terminal, around.environment);
  const int code = RunCommand(tree, console);
  if (code == kExitOk && console.out.failed()) {
    return console.Fail(absl::UnknownError("stdout could not be written (closed, or its disk is full)"));
  }
  return code;
}

}  // namespace mantissa::cli
