#include "client/cli/commands/doctor.h"

#include <array>
#include <climits>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/commands/pages.h"
#include "client/cli/commands/version.h"
#include "client/cli/doctor/diagnosis.h"
#include "client/cli/output/display_text.h"
#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {
namespace {

using Level = Finding::Level;

DoctorFacts Look(const Context& context) {
  Connection& connection = context.connection;
  DoctorFacts facts;
  facts.own_version = OwnVersion();
  facts.address = connection.address();
  v1::ServerInfo info;
  facts.reached =
      connection.Ask(connection.admin(), &v1::AdminService::Stub::GetServerInfo, v1::GetServerInfoRequest(), info);
  if (facts.reached.ok()) {
    facts.server = info;
    std::vector<v1::Worker> workers;
    v1::ListWorkersRequest request;
    request.set_page_size(1000);
    const absl::Status listed = ForEachPage(connection, connection.admin(), &v1::AdminService::Stub::ListWorkers,
                                            request, [&](v1::ListWorkersResponse& response) {
                                              for (v1::Worker& worker : *response.mutable_workers()) {
                                                workers.push_back(std::move(worker));
                                              }
                                              return true;
                                            });
    if (listed.ok()) facts.workers = std::move(workers);
  }
  facts.now = context.console.clock.WallNow();
  facts.gpu = ProbeGpus();
  std::array<char, HOST_NAME_MAX + 1> host_name = {};
  if (::gethostname(host_name.data(), host_name.size() - 1) == 0) facts.host_name = host_name.data();
  struct statvfs disk = {};
  if (::statvfs(".", &disk) == 0) {
    facts.free_here_bytes = static_cast<std::int64_t>(disk.f_bavail) * static_cast<std::int64_t>(disk.f_frsize);
  }
  return facts;
}

std::string LevelName(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kNote:
      return "note";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "";
}

Style StyleOf(Level level) {
  switch (level) {
    case Level::kOk:
      return Style::kGood;
    case Level::kNote:
      return Style::kDim;
    case Level::kWarning:
      return Style::kWarn;
    case Level::kError:
      return Style::kBad;
  }
  return Style::kPlain;
}

std::string FindingsText(const std::vector<Finding>& findings, const Console& console) {
  constexpr int kMargin = 18;
  const int room = console.out_look.terminal ? std::max(20, console.width() - kMargin) : 1 << 20;
  std::string text;
  for (const Finding& finding : findings) {
    const std::string level =
        Styled({PadRight(LevelName(finding.level), 8), StyleOf(finding.level)}, console.out_look.color);
    bool first = true;
    for (const std::string& line : WrapWords(ForTerminal(finding.what), room)) {
      absl::StrAppend(&text,
                      first ? absl::StrCat(level, PadRight(finding.subject, kMargin - 8)) : std::string(kMargin, ' '),
                      line, "\n");
      first = false;
    }
    if (finding.fix.empty()) continue;
    first = true;
    for (const std::string& line : WrapWords(finding.fix, room - 5)) {
      absl::StrAppend(&text, std::string(kMargin, ' '), first ? "fix: " : "     ", line, "\n");
      first = false;
    }
  }
  return text;
}

}  // namespace

int Doctor(const Context& context) {
  const DoctorFacts facts = Look(context);
  const std::vector<Finding> findings = Diagnose(facts);
  int code = kExitOk;
  for (const Finding& finding : findings) {
    if (finding.level == Level::kError) code = kExitError;
  }
  if (!facts.reached.ok()) code = ExitCodeOf(facts.reached.code());
  if (IsStructured(context.format)) {
    nlohmann::ordered_json report = {{"healthy", code == kExitOk}, {"findings", nlohmann::ordered_json::array()}};
    for (const Finding& finding : findings) {
      report["findings"].push_back({{"level", LevelName(finding.level)},
                                    {"subject", finding.subject},
                                    {"what", finding.what},
                                    {"fix", finding.fix}});
    }
    PrintJson(context.console, context.format, report.dump(2) + "\n");
  } else {
    const std::string text = FindingsText(findings, context.console);
    context.console.out.Write(context.console.utf8 ? text : ToAscii(text));
  }
  return code;
}

}  // namespace mantissa::cli
