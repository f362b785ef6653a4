#include "proto/spec/study_report.h"

#include "absl/strings/str_cat.h"
#include <google/protobuf/descriptor.h>

namespace mantissa::spec {

using Kind = v1::StudySpec::KindCase;

std::string_view StudyName(Kind kind) {
  const google::protobuf::FieldDescriptor* field = v1::StudySpec::descriptor()->FindFieldByNumber(kind);
  return field == nullptr ? std::string_view("study") : std::string_view(field->name());
}

// A study and its result have one name.
Kind StudyOf(const v1::Report& report) {
  const google::protobuf::FieldDescriptor* result = v1::Report::descriptor()->FindFieldByNumber(report.result_case());
  if (result == nullptr) return Kind::KIND_NOT_SET;
  const google::protobuf::FieldDescriptor* study = v1::StudySpec::descriptor()->FindFieldByName(result->name());
  return study == nullptr ? Kind::KIND_NOT_SET : static_cast<Kind>(study->number());
}

std::string ReportFault(Kind study, const v1::Report& report) {
  if (study == Kind::KIND_NOT_SET) return "the job is no study, and has no report";
  if (const std::size_t size = report.ByteSizeLong(); size > kMaxReportBytes) {
    return absl::StrCat("its report has ", size, " bytes; at most ", kMaxReportBytes, " are allowed");
  }
  const Kind held = StudyOf(report);
  if (held == study) return "";
  const std::string name(StudyName(study));
  if (held == Kind::KIND_NOT_SET) return absl::StrCat("its report holds no result of ", name);
  return absl::StrCat("its report is one of ", std::string(StudyName(held)), ", and the study is ", name);
}

bool AreToldApart(const v1::PrecisionRow& a, const v1::PrecisionRow& b) {
  const auto low = [](const v1::PrecisionRow& row) {
    return row.has_speedup_low() ? row.speedup_low() : row.speedup();
  };
  const auto high = [](const v1::PrecisionRow& row) {
    return row.has_speedup_high() ? row.speedup_high() : row.speedup();
  };
  return high(a) < low(b) || high(b) < low(a);
}

}  // namespace mantissa::spec
