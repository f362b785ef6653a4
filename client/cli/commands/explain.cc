#include "client/cli/commands/explain.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/advise/advice_text.h"
#include "client/cli/explain/explanation.h"
#include "client/cli/output/display_text.h"
#include "client/cli/spec/field_names.h"
#include "client/cli/watch/styled_line.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 4;
constexpr int kWidest = 100;  // longer lines are hard to read

void AppendWrapped(const std::string& words, int indent, int width, std::string& text) {
  for (const std::string& line : WrapWords(words, std::max(20, width - indent))) {
    absl::StrAppend(&text, std::string(static_cast<std::size_t>(indent), ' '), line, "\n");
  }
}

std::string StudiesText(const ProtoComments& comments, int width) {
  const auto studies = Studies(comments);
  int widest = 0;
  for (const auto& [name, sentence] : studies) widest = std::max(widest, DisplayWidth(name));
  std::string text;
  for (const auto& [name, sentence] : studies) {
    std::string head = PadRight(name, widest + 2);
    for (const std::string& line : WrapWords(sentence, std::max(20, width - widest - 2))) {
      absl::StrAppend(&text, head, line, "\n");
      head = std::string(static_cast<std::size_t>(widest) + 2, ' ');
    }
  }
  text += "\n";
  AppendWrapped(
      "`mantissa explain STUDY` says how one works and what it takes, `mantissa explain job` what a job spec may say, "
      "and "
      "`mantissa explain training.precision.loss_scale` what a part of it means.",
      0, width, text);
  return text;
}

std::string Heading(const ExplainedPart& part) {
  std::string text = part.name;
  if (!part.type.empty()) absl::StrAppend(&text, "  <", part.type, ">");
  if (!part.group.empty()) absl::StrAppend(&text, "  one of ", part.group);
  return text;
}

// Of a study; empty for anything else. A study and its result have one name.
std::string ReportPathOf(const Explanation& explanation) {
  constexpr std::string_view kStudy = "study.";
  const std::string& path = explanation.path;
  if (path.rfind(kStudy, 0) != 0 || path.find('.', kStudy.size()) != std::string::npos) return "";
  return absl::StrCat("report.", path.substr(kStudy.size()));
}

std::string ExplanationText(const Explanation& explanation, int width) {
  std::string text;
  AppendWrapped(absl::StrCat(explanation.path, "  <", explanation.type, ">"), 0, width, text);
  for (const std::string& paragraph : explanation.comment) {
    text += "\n";
    AppendWrapped(paragraph, 0, width, text);
  }
  if (explanation.parts.empty()) return text;
  text += explanation.has_fields ? "\nFIELDS\n" : "\nVALUES\n";
  for (const ExplainedPart& part : explanation.parts) {
    AppendWrapped(Heading(part), kIndent / 2, width, text);
    for (const std::string& paragraph : part.comment) AppendWrapped(paragraph, kIndent + kIndent / 2, width, text);
  }
  if (const std::string report = ReportPathOf(explanation); !report.empty()) {
    text += "\n";
    AppendWrapped(absl::StrCat("What its report holds: `mantissa explain ", report, "`"), 0, width, text);
  }
  return text;
}

Json Document(const Explanation& explanation) {
  Json json = {{"path", explanation.path}, {"type", explanation.type}, {"comment", explanation.comment}};
  Json& parts = json[explanation.has_fields ? "fields" : "values"];
  parts = Json::array();
  for (const ExplainedPart& part : explanation.parts) {
    Json entry = {{"name", part.name}};
    if (!part.type.empty()) entry["type"] = part.type;
    if (!part.group.empty()) entry["one_of"] = part.group;
    entry["comment"] = part.comment;
    parts.push_back(std::move(entry));
  }
  return json;
}

int ShowStudies(const Console& console, OutputFormat format, int width) {
  const ProtoComments& comments = ProtoComments::Ours();
  if (IsStructured(format)) {
    Json list = Json::array();
    for (const auto& [name, sentence] : Studies(comments)) list.push_back({{"name", name}, {"comment", sentence}});
    PrintJson(console, format, Json{{"studies", list}}.dump(2) + "\n");
    return kExitOk;
  }
  if (format == OutputFormat::kName) {
    for (const auto& [name, sentence] : Studies(comments)) console.out.Write(name + "\n");
    return kExitOk;
  }
  console.out.Write(StudiesText(comments, width));
  return kExitOk;
}

}  // namespace

int ShowExplanation(const Console& console, OutputFormat format, const std::string& path) {
  const int width = std::min(console.width(), kWidest);
  if (path.empty()) return ShowStudies(console, format, width);
  const absl::StatusOr<Explanation> explanation =
      path == "advise" ? ExplainAdvice() : ExplainPath(path, ProtoComments::Ours());
  if (!explanation.ok()) return console.Fail(explanation.status());
  if (IsStructured(format)) {
    PrintJson(console, format, Document(*explanation).dump(2) + "\n");
    return kExitOk;
  }
  if (format == OutputFormat::kName) {
    for (const ExplainedPart& part : explanation->parts) console.out.Write(part.name + "\n");
    return kExitOk;
  }
  const std::string text = ExplanationText(*explanation, width);
  console.out.Write(console.utf8 ? text : ToAscii(text));
  return kExitOk;
}

std::vector<std::string> ExplainedNames() {
  std::vector<std::string> names = FieldNames(*v1::StudySpec::descriptor());
  for (const std::string& field : FieldNames(*v1::JobSpec::descriptor())) names.push_back(field);
  names.insert(names.end(), {"job", "report", "advise"});
  return names;
}

}  // namespace mantissa::cli
