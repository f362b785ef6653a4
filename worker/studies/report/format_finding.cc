#include "worker/studies/report/format_finding.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "worker/studies/report/number_text.h"

namespace mantissa::trainer {
namespace {

std::string NameOf(v1::NumberFormat::Code format) { return v1::NumberFormat::Code_Name(format); }

std::string RangeSentence(const v1::FormatTableReport& report) {
  const auto by_range = [](const v1::FormatRow& a, const v1::FormatRow& b) { return a.decades() < b.decades(); };
  const auto [narrowest, widest] = std::minmax_element(report.formats().begin(), report.formats().end(), by_range);
  const auto text = [](const v1::FormatRow& row) {
    return absl::StrFormat("%s (%.3g decades, %.5g to %.5g)", NameOf(row.format()), row.decades(),
                           row.smallest_subnormal(), row.largest());
  };
  if (narrowest == widest) return absl::StrCat("The only range is that of ", text(*widest), ".");
  return absl::StrCat("The widest range is that of ", text(*widest), ", the narrowest that of ", text(*narrowest), ".");
}

std::string ValueSentence(const v1::FormatTableReport& report) {
  std::vector<std::string> losing;
  for (const v1::FormatRow& format : report.formats()) {
    long zero = 0;
    long beyond = 0;
    for (const v1::RoundedValue& value : report.values()) {
      if (value.format() != format.format()) continue;
      if (value.outcome() == v1::RoundedValue::UNDERFLOW) ++zero;
      const bool out =
          value.outcome() == v1::RoundedValue::OVERFLOW || value.outcome() == v1::RoundedValue::OUT_OF_RANGE;
      if (out) ++beyond;
    }
    if (zero + beyond > 0) {
      losing.push_back(absl::StrCat(zero, " and ", beyond, " in ", NameOf(format.format())));
    }
  }
  if (report.values_size() == 0) return "";
  if (losing.empty()) return " Every value given lies within the range of every format.";
  return absl::StrCat(
      " Of the values given, so many become 0 and so many leave the range: ", absl::StrJoin(losing, ", "), ".");
}

std::string GradientSentence(const v1::FormatTableReport& report, std::int64_t iterations, double loss_scale) {
  std::vector<std::string> losing;
  std::vector<std::string> keeping;
  for (const v1::FormatGradients& row : report.gradients()) {
    const std::string name = NameOf(row.format());
    // With the scale, too: what it sends beyond the range is lost as well.
    if (row.underflow_share() + row.overflow_share() + row.scaled_overflow_share() == 0) {
      keeping.push_back(name);
      continue;
    }
    std::string text = absl::StrCat(name, " ", PercentText(row.underflow_share()));
    if (row.overflow_share() > 0) absl::StrAppend(&text, " (and ", PercentText(row.overflow_share()), " beyond it)");
    absl::StrAppend(&text, ", times ", ScaleText(loss_scale), " ", PercentText(row.scaled_underflow_share()));
    if (row.scaled_overflow_share() > 0) {
      absl::StrAppend(&text, " (and ", PercentText(row.scaled_overflow_share()), " beyond it)");
    }
    losing.push_back(std::move(text));
  }
  if (report.gradients_size() == 0) return "";
  const std::string after = CountText(static_cast<long>(iterations), "iteration");
  std::string sentence = absl::StrCat(" Of this model's gradients that are not 0, after ", after, ", ");
  if (losing.empty()) return absl::StrCat(sentence, "no format loses any to 0 or beyond its range.");
  absl::StrAppend(&sentence, "so many become 0: ", absl::StrJoin(losing, "; "), ".");
  if (!keeping.empty()) absl::StrAppend(&sentence, " None do in ", absl::StrJoin(keeping, ", "), ".");
  return sentence;
}

}  // namespace

std::string FormatFinding(const v1::FormatTableReport& report, std::int64_t iterations, double loss_scale) {
  if (report.formats_size() == 0) return "No format was asked for.";
  return absl::StrCat(RangeSentence(report), ValueSentence(report), GradientSentence(report, iterations, loss_scale));
}

}  // namespace mantissa::trainer
