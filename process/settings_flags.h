// Settings as CLI11 flags. Included by main.cc files only: CLI11 is a large header.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>

#include "process/settings.h"

namespace mantissa::process {

// Declares every setting as a flag of `app`. What the command line gives lands in `flags`, which must outlive the
// parse. A boolean may stand alone (`--verbose`) or with a value (`--verbose=false`); a list may be repeated.
inline void DeclareFlags(const Settings& settings, CLI::App& app, SettingTexts& flags) {
  const auto keep = [&flags](const std::string& name) {
    return [&flags, name](const std::vector<std::string>& given) {
      std::string text;
      for (std::size_t i = 0; i < given.size(); ++i) text += (i == 0 ? "" : ",") + given[i];
      flags[name] = text;
      return true;
    };
  };
  for (const Setting& setting : settings.settings()) {
    const std::string flag = "--" + setting.name;
    const std::string by_default = Settings::DefaultText(setting);
    const std::string help = setting.help + " [" + Settings::EnvironmentName(setting.name) +
                             (by_default.empty() ? "" : "; " + by_default) + "]";
    CLI::Option* option = app.add_option(flag, keep(setting.name), help);
    if (std::holds_alternative<bool*>(setting.target)) {
      option->expected(0, 1)->default_str("true")->type_name("");
    } else if (std::holds_alternative<std::vector<std::string>*>(setting.target)) {
      option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
    }
  }
  app.add_option(std::string("--") + kConfigFlag, keep(kConfigFlag), "YAML file of settings [MANTISSA_CONFIG]");
  app.add_option(std::string("--") + kPrintConfigFlag, keep(kPrintConfigFlag),
                 "Print every setting with its origin, and stop")
      ->expected(0)
      ->type_name("");
}

}  // namespace mantissa::process
