#include "client/cli/advise/advice_text.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "client/cli/output/display_text.h"
#include "client/cli/watch/styled_line.h"
#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWidest = 100;  // longer lines are hard to read

void AppendLines(const std::string& head, const std::string& words, int width, std::string& text) {
  std::string before = head;
  const int indent = DisplayWidth(head);
  for (const std::string& line : WrapWords(ForTerminal(words), std::max(20, width - indent))) {
    absl::StrAppend(&text, before, line, "\n");
    before = std::string(static_cast<std::size_t>(indent), ' ');
  }
}

std::string AnswerText(const RuleAnswer& rule) {
  switch (rule.answer) {
    case RuleAnswer::Answer::kAsItIs:
      return "as it is";
    case RuleAnswer::Answer::kChange:
      return "change";
    case RuleAnswer::Answer::kUnknown:
      break;
  }
  return "UNKNOWN";
}

std::string NameOf(const StudyOutcome& outcome) { return std::string(spec::StudyName(outcome.study)); }

// One word of a shell, whatever is in it.
std::string Quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("/._-+=:,@%").find(c) != std::string_view::npos;
  });
  return plain ? word : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

// An entry of a list, which --set does not reach.
bool IsOfList(const SpecChange& change) { return change.field.find('[') != std::string::npos; }

// Empty where it would change nothing.
std::string SubmitCommand(const Advice& advice, const std::string& file, const std::string& address_flag) {
  std::set<std::string> told;
  std::string command = absl::StrCat("mantissa submit ", Quoted(ForTerminal(file)), address_flag);
  for (const RuleAnswer& rule : advice.rules) {
    for (const SpecChange& change : rule.changes) {
      if (!IsOfList(change) && told.insert(change.field).second) {
        absl::StrAppend(&command, " --set ", Quoted(absl::StrCat(change.field, "=", change.to)));
      }
    }
  }
  return told.empty() ? "" : command;
}

}  // namespace

std::string AdviceText(const Advice& advice, const std::vector<StudyOutcome>& outcomes, const std::string& file,
                       const std::string& address_flag, int width) {
  width = std::min(width, kWidest);
  std::string text = advice.device.empty() ? "" : absl::StrCat("on ", ForTerminal(advice.device), "\n\n");
  for (const RuleAnswer& rule : advice.rules) {
    AppendLines(absl::StrCat(rule.number, "  "), absl::StrCat(rule.rule, ": ", AnswerText(rule)), width, text);
    AppendLines("   ", absl::StrCat(rule.reason, "."), width, text);
    for (const SpecChange& change : rule.changes) {
      AppendLines("   -> ", absl::StrCat(change.field, ": ", change.to, "   (now ", change.from, ")"), width, text);
    }
    for (const std::string& line : rule.evidence) AppendLines("     - ", line, width, text);
    text += "\n";
  }
  for (const StudyOutcome& outcome : outcomes) {
    if (outcome.job_id.empty()) continue;
    absl::StrAppend(&text, PadRight(NameOf(outcome), 22), "mantissa report ", outcome.job_id, address_flag, "\n");
  }
  const bool lists = std::any_of(advice.rules.begin(), advice.rules.end(), [](const RuleAnswer& rule) {
    return std::any_of(rule.changes.begin(), rule.changes.end(), IsOfList);
  });
  // Not wrapped: it is to be copied.
  if (const std::string command = SubmitCommand(advice, file, address_flag); !command.empty()) {
    absl::StrAppend(&text, "\n",
                    lists ? "as changed, but for entries of lists, which want the file edited" : "as changed", ":\n  ",
                    command, "\n");
  }
  return text;
}

std::string AdviceJson(const Advice& advice, const std::vector<StudyOutcome>& outcomes) {
  Json document = {{"device", advice.device}, {"studies", Json::array()}, {"rules", Json::array()}};
  for (const StudyOutcome& outcome : outcomes) {
    Json study = {{"study", NameOf(outcome)}, {"job_id", outcome.job_id}};
    if (outcome.report) {
      study["finding"] = outcome.report->finding();
    } else {
      study["failure"] = outcome.failure;
    }
    document["studies"].push_back(std::move(study));
  }
  for (const RuleAnswer& rule : advice.rules) {
    Json changes = Json::array();
    for (const SpecChange& change : rule.changes) {
      changes.push_back({{"field", change.field}, {"from", change.from}, {"to", change.to}});
    }
    document["rules"].push_back({{"number", rule.number},
                                 {"rule", rule.rule},
                                 {"answer", std::string(AnswerName(rule.answer))},
                                 {"reason", rule.reason},
                                 {"evidence", rule.evidence},
                                 {"changes", std::move(changes)}});
  }
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Explanation ExplainAdvice() {
  Explanation explanation;
  explanation.path = "advise";
  explanation.type = "command";
  explanation.comment = {
      "What this playbook of reduced precision says of a training: `mantissa advise SPEC`.",
      "How: the spec's training is cut short and studied, in jobs of the label advice=ID: precision_comparison, "
      "gradient_analysis, scaler_study, memory_plan, tensor_core with the model's own products where the spec says "
      "their shapes, and those failure_modes that this model could have. Each rule is then answered from the reports: "
      "as it is, with the reason; a change of the spec; or UNKNOWN, where a study failed or could not tell."};
  const std::vector<PlaybookRule>& rules = Playbook();
  for (std::size_t i = 0; i < rules.size(); ++i) {
    explanation.comment.push_back(
        absl::StrCat(i + 1, ". ", std::string(rules[i].rule), ". ", std::string(rules[i].how)));
  }
  explanation.comment.push_back(
      "Limits: the runs are short (--iterations), and the answers are of the device that they ran on; on a CPU nothing "
      "is known of tensor cores, and memory is estimated.");
  return explanation;
}

}  // namespace mantissa::cli
