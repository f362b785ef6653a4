#include "client/cli/commands/token.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/exit_code.h"
#include "process/access_token.h"
#include "process/file_descriptor.h"
#include "process/small_file.h"

namespace mantissa::cli {
namespace {

// In one write, so that a server that reads the file at that moment sees the line or does not.
absl::Status Append(const std::string& path, std::string line) {
  const process::FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const auto failed = [&path] {
    return absl::PermissionDeniedError(
        absl::StrCat("--append-to: ", path, " can't be written: ", strerrordesc_np(errno), "; the token was not made"));
  };
  if (!file.valid()) return failed();
  char last = '\n';
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size > 0 && ::pread(file.get(), &last, 1, size - 1) != 1) return failed();
  if (last != '\n') line.insert(line.begin(), '\n');
  line += '\n';
  if (::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) return failed();
  return absl::OkStatus();
}

}  // namespace

int Token(const Console& console, OutputFormat format, const TokenOptions& options) {
  process::TokenEntry entry;
  entry.tenant = options.tenant;
  entry.role = process::ParseRole(options.role).value_or(process::Role::kReader);
  entry.name = options.name;
  if (!process::IsAccessName(entry.tenant)) {
    return console.Fail(absl::InvalidArgumentError("tenant: must be 1 to 63 of a-z, 0-9 and -, such as vision"));
  }
  const std::string token = process::NewToken();
  entry.sha256 = process::TokenHash(token);
  const std::string line = process::FormatTokenEntry(entry);
  // As the server will read it: a name may have what no line may.
  const auto read_back = process::ParseTokenFile(line);
  if (!read_back.ok() || read_back->size() != 1) {
    return console.Fail(absl::InvalidArgumentError("--name: must be one line of at most 128 bytes"));
  }
  if (!options.append_to.empty()) {
    const absl::Status appended = Append(options.append_to, line);
    if (!appended.ok()) return console.Fail(appended);
  }
  if (format == OutputFormat::kJson) {
    console.out.Write(nlohmann::json{{"token", token}, {"line", line}}.dump(2) + "\n");
  } else if (format == OutputFormat::kName || !options.append_to.empty()) {
    console.out.Write(token + "\n");
  } else {
    console.out.Write(absl::StrCat("token  ", token, "\nline   ", line, "\n"));
  }
  console.Note(options.append_to.empty()
                   ? "The token is shown this once: give it to its user, and the line to the server's --tokens file."
                   : "The token is shown this once: give it to its user.");
  return kExitOk;
}

}  // namespace mantissa::cli
