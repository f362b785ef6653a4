#include "server/rpc/job/read_report.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

#include "server/core/errors.h"
#include "server/core/job_state.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kShownBytes = 80;  // of what a caller wrote

bool IsSection(const FieldDescriptor& field) { return field.is_repeated() && field.message_type() != nullptr; }

absl::Status NoReport(const v1::Job& job) {
  const std::string state = v1::Job::State_Name(job.state());
  const std::string why = job.state_message().empty() ? "" : absl::StrCat(" (", job.state_message(), ")");
  return ErrorWithReason(absl::StatusCode::kNotFound, "NO_REPORT",
                         IsTerminal(job.state())
                             ? absl::StrCat("job_id: the study ended ", state, " without a report", why)
                             : absl::StrCat("job_id: the study has no report yet: it is ", state, why));
}

// Takes every table but the one of this name away.
absl::Status KeepSection(const std::string& section, v1::Report& report) {
  const FieldDescriptor* const of_kind = v1::Report::descriptor()->FindFieldByNumber(report.result_case());
  if (of_kind == nullptr) return InvalidField("section", "is given, but the report has no tables; leave it out");
  Message& result = *report.GetReflection()->MutableMessage(&report, of_kind);
  const Descriptor& type = *result.GetDescriptor();
  std::vector<std::string> names;
  bool found = false;
  for (int i = 0; i < type.field_count(); ++i) {
    if (!IsSection(*type.field(i))) continue;
    names.push_back(type.field(i)->name());
    found = found || names.back() == section;
  }
  if (!found) {
    return InvalidField("section", absl::StrCat("is ", Shortened(section, kShownBytes), "; the sections of ",
                                                of_kind->name(), " are ", absl::StrJoin(names, ", ")));
  }
  for (const std::string& name : names) {
    if (name != section) result.GetReflection()->ClearField(&result, type.FindFieldByName(name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadReport(Backend& backend, const Caller& caller, const v1::GetReportRequest& request,
                        v1::GetReportResponse& response) {
  const absl::StatusOr<v1::Job> job = ReadJob(backend, caller, request.job_id());
  if (!job.ok()) return job.status();
  if (!job->resolved_spec().has_study()) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, "NOT_A_STUDY",
                           "job_id: the job trains, and only studies have reports; QueryHistory has its numbers");
  }
  absl::StatusOr<std::optional<v1::Report>> report = backend.store.GetReport(request.job_id());
  if (!report.ok()) return report.status();
  if (!report->has_value()) return NoReport(*job);
  *response.mutable_report() = *std::move(*report);
  return request.section().empty() ? absl::OkStatus() : KeepSection(request.section(), *response.mutable_report());
}

}  // namespace mantissa::server
