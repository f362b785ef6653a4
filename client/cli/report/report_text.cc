#include "client/cli/report/report_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/report/column_layout.h"
#include "client/cli/report/report_table.h"
#include "client/cli/watch/styled_line.h"
#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

constexpr std::size_t kMostRows = 20;
constexpr int kLeastWidth = 20;

// `head` before the first line, as much room before the others.
void AppendWrapped(const std::string& head, const std::string& words, int width, std::string& text) {
  if (words.empty()) return;
  const int indent = DisplayWidth(head);
  bool first = true;
  for (const std::string& line : WrapWords(words, std::max(kLeastWidth, width - indent))) {
    absl::StrAppend(&text, first ? head : std::string(static_cast<std::size_t>(indent), ' '), line, "\n");
    first = false;
  }
}

std::string HeadText(const v1::Report& report, const ReportView& view) {
  std::vector<std::string> parts = {ForTerminal(view.job), std::string(spec::StudyName(spec::StudyOf(report)))};
  if (!report.device().empty()) parts.push_back(absl::StrCat("on ", ForTerminal(report.device())));
  if (report.has_elapsed()) parts.push_back(absl::StrCat("took ", SpanText(Seconds(report.elapsed()))));
  if (!report.torch_version().empty()) parts.push_back(absl::StrCat("torch ", ForTerminal(report.torch_version())));
  return absl::StrJoin(parts, "   ");
}

// A name that says something several times stands before the first.
void AppendFacts(const v1::Report& report, int width, std::string& text) {
  const google::protobuf::Message* const result = ResultOf(report);
  if (result == nullptr) return;
  const auto facts = FactsOf(*result);
  if (facts.empty()) return;
  int widest = 0;
  for (const auto& [name, value] : facts) widest = std::max(widest, DisplayWidth(name));
  text += "\n";
  std::string before;
  for (const auto& [name, value] : facts) {
    AppendWrapped(PadRight(name == before ? "" : name, widest + 2), value, width, text);
    before = name;
  }
}

void AppendSection(const ReportSection& section, const ReportView& view, std::string& text) {
  const bool whole = !view.section.empty();
  const std::size_t shown = whole ? section.rows.size() : std::min(kMostRows, section.rows.size());
  absl::StrAppend(&text, "\n", section.name, "\n", LayOut(ColumnsOf(section, shown), view.width));
  const std::size_t more = section.rows.size() - shown;
  if (more == 0) return;
  AppendWrapped("",
                absl::StrCat("and ", more, more == 1 ? " row" : " rows", " more: ", view.command, " ", section.name),
                view.width, text);
}

}  // namespace

std::string ReportText(const v1::Report& report, const ReportView& view) {
  std::string text;
  AppendWrapped("", HeadText(report, view), view.width, text);
  if (report.partial())
    AppendWrapped("", "PARTIAL: not all of it was done; the limits say what is missing.", view.width, text);
  text += "\n";
  AppendWrapped("", ForTerminal(report.finding()), view.width, text);
  AppendFacts(report, view.width, text);
  for (const ReportSection& section : SectionsOf(report)) {
    if (view.section.empty() || view.section == section.name) AppendSection(section, view, text);
  }
  if (report.limits_size() > 0) text += "\nlimits\n";
  for (const std::string& limit : report.limits()) AppendWrapped("- ", ForTerminal(limit), view.width, text);
  return text;
}

}  // namespace mantissa::cli
