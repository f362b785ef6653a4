// How data are printed.
#pragma once

#include <string>
#include <string_view>

#include "google/protobuf/message.h"

#include "client/cli/console.h"
#include "client/cli/output/message_text.h"

namespace mantissa::cli {

enum class OutputFormat {
  kTable,
  kJson,
  kYaml,
  kName,  // one name or id a line, for scripts and completion
  kCsv,   // records alone
};

// A JSON document in the format asked for; kTable and kName are the caller's own.
inline void PrintJson(const Console& console, OutputFormat format, const std::string& json) {
  console.out.Write(format == OutputFormat::kYaml ? JsonToYaml(json) : json);
}

inline bool IsStructured(OutputFormat format) { return format == OutputFormat::kJson || format == OutputFormat::kYaml; }

}  // namespace mantissa::cli
