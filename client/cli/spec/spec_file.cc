#include "client/cli/spec/spec_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/spec/spec_override.h"
#include "process/file_descriptor.h"

namespace mantissa::cli {
namespace {

// The text behind `fd`, or the errno of the read that failed. Stops once the text is too long to be parsed.
int ReadText(int fd, std::string& text) {
  char buffer[64 << 10];
  while (text.size() <= kMaxDocumentBytes) {
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return 0;
}

std::string Unreadable(int error) {
  switch (error) {
    case ENOENT:
      return "no such file; give the path of a job spec, or - for stdin";
    case EISDIR:
      return "a folder; give the path of a file in it";
    case EACCES:
      return "may not be read; check its permissions";
    default:
      return absl::StrCat("can't be read: ", std::strerror(error));  // NOLINT(concurrency-mt-unsafe)
  }
}

}  // namespace

SpecFile ReadSpecText(std::string_view text, const SpecSource& source) {
  SpecFile file;
  file.shown_name = source.file == "-" ? "stdin" : source.file;
  Document document = ParseDocument(text);
  file.problems = std::move(document.problems);
  if (document.root != nullptr) {
    SpecReader(*v1::JobSpec::descriptor(), file.problems, file.lines).ReadMessage(*document.root, "", file.spec);
  }
  for (const std::string& assignment : source.overrides) {
    ApplyOverride(assignment, file.spec, file.problems, file.lines);
  }
  if (FirstNonUtf8(source.name) != std::string_view::npos) {
    file.problems.push_back({0, "name", "--name: not UTF-8 text; write a name such as digits-fp16"});
  } else if (!source.name.empty()) {
    file.spec.set_name(source.name);
    file.lines.erase("name");
  }
  std::stable_sort(file.problems.begin(), file.problems.end(), [](const SpecProblem& a, const SpecProblem& b) {
    return (a.line == 0 ? 1 << 30 : a.line) < (b.line == 0 ? 1 << 30 : b.line);
  });
  return file;
}

SpecFile ReadSpecFile(const SpecSource& source) {
  std::string text;
  int error = 0;
  if (source.file == "-") {
    error = ReadText(STDIN_FILENO, text);
  } else {
    const process::FileDescriptor file(::open(source.file.c_str(), O_RDONLY | O_CLOEXEC));
    error = file.valid() ? ReadText(file.get(), text) : errno;
  }
  if (error != 0) {
    SpecFile failed;
    failed.shown_name = source.file == "-" ? "stdin" : source.file;
    failed.problems.push_back({0, "", Unreadable(error)});
    return failed;
  }
  return ReadSpecText(text, source);
}

std::string FormatProblem(const std::string& shown_name, const SpecProblem& problem) {
  return absl::StrCat(ForTerminal(shown_name), problem.line > 0 ? absl::StrCat(":", problem.line) : "", ": ",
                      problem.path.empty() ? "" : absl::StrCat(problem.path, ": "), problem.message);
}

int LineOf(const FieldLines& lines, std::string_view path) {
  while (true) {
    if (const auto found = lines.find(path); found != lines.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    if (cut == std::string_view::npos || cut == 0) return 0;
    path = path.substr(0, cut);
  }
}

}  // namespace mantissa::cli
