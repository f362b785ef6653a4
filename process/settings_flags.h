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
  for (const Setting& setting : settings.settings()) {
    const std::string flag = "--" + setting.name;
    const std::string name = setting.name;
    auto keep = [&flags, name](const std::vector<std::string>& given) {
      std::string text;
      for (const std::string& item : given) text += (text.empty() ? "" : ",") + item;
      flags[name] = text;
      return true;
    };
    const std::string help = setting.help + " [" + Settings::EnvironmentName(name) + "]";
    if (std::holds_alternative<bool*>(setting.target)) {
      app.add_flag(flag, keep, help);
    } else if (std::holds_alternative<std::vector<std::string>*>(setting.target)) {
      app.add_option(flag, keep, help)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    } else {
      app.add_option(flag, keep, help)->expected(1);
    }
  }
}

}  // namespace mantissa::process
