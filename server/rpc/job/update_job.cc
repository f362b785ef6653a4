#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/field_mask_util.h"

#include "proto/spec/defaults.h"
#include "proto/spec/validate.h"
#include "server/core/errors.h"
#include "server/rpc/job/change_job.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/status.h"
#include "server/telemetry/telemetry_hub.h"

namespace mantissa::server {
namespace {

using google::protobuf::util::FieldMaskUtil;

constexpr std::array<std::string_view, 4> kChangeable = {"priority", "labels", "retry", "timeouts"};

absl::Status CheckMask(const google::protobuf::FieldMask& mask) {
  if (mask.paths().empty()) {
    return InvalidField("update_mask", "is required: which of priority, labels, retry and timeouts to change");
  }
  for (int i = 0; i < mask.paths_size(); ++i) {
    const std::string& path = mask.paths(i);
    const std::string field = absl::StrCat("update_mask.paths[", i, "]");
    const std::string_view root = std::string_view(path).substr(0, path.find('.'));
    if (std::find(kChangeable.begin(), kChangeable.end(), root) == kChangeable.end()) {
      return InvalidField(field,
                          absl::StrCat("'", Shortened(path, 100),
                                       "' is not one of priority, labels, retry and timeouts; anything else of a "
                                       "spec is for a new job: clone it"));
    }
    if (!FieldMaskUtil::IsValidPath<v1::JobSpec>(path) || (root == "labels" && path != root)) {
      return InvalidField(field, absl::StrCat("'", Shortened(path, 100), "' is no field of a spec",
                                              root == "labels" ? "; labels are replaced together: name `labels`" : ""));
    }
  }
  return absl::OkStatus();
}

v1::JobSpec Merged(const v1::JobSpec& stored, const v1::UpdateJobRequest& request) {
  v1::JobSpec spec = stored;
  FieldMaskUtil::MergeOptions replace;
  replace.set_replace_message_fields(true);
  replace.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(request.spec(), request.update_mask(), replace, &spec);
  return spec;
}

}  // namespace

void UpdateOne(Backend& backend, UnaryCall* call, const v1::UpdateJobRequest& request, v1::Job& job) {
  const absl::Status mask = CheckMask(request.update_mask());
  if (!mask.ok()) return call->Reply(mask);
  absl::StatusOr<v1::Job> read = ReadJob(backend, call->caller(), request.job_id());
  if (!read.ok()) return call->Reply(read.status());
  if (HasEnded(read->state())) {
    return call->Reply(ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                                       absl::StrCat("the job has ended (", v1::Job::State_Name(read->state()),
                                                    "), and what has ended is not changed")));
  }
  if (!request.etag().empty() && request.etag() != read->etag()) {
    return call->Reply(ErrorWithReason(absl::StatusCode::kAborted, kEtagMismatch,
                                       "etag: the job has changed since it was read; read it again"));
  }
  v1::JobSpec spec = Merged(read->spec(), request);
  const std::vector<spec::Violation> violations = spec::ValidateJobSpec(spec);
  if (!violations.empty()) return call->Reply(InvalidSpec(violations));
  // Only what was named gets today's defaults; the rest keeps those that it was submitted under.
  v1::JobSpec resolved = read->resolved_spec();
  const v1::JobSpec defaults = spec::ResolveDefaults(spec);
  for (const std::string& path : request.update_mask().paths()) {
    const std::string root = path.substr(0, path.find('.'));
    if (root == "priority") resolved.set_priority(defaults.priority());
    if (root == "labels") *resolved.mutable_labels() = defaults.labels();
    if (root == "retry") *resolved.mutable_retry() = defaults.retry();
    if (root == "timeouts") *resolved.mutable_timeouts() = defaults.timeouts();
  }

  // The job may move meanwhile, and its etag with it; only another update would make these specs wrong, and has another
  // revision.
  const int32_t revision = read->spec_revision();
  call->Commit(
      [&request, &job, revision, spec = std::move(spec), resolved = std::move(resolved)](Scheduler& scheduler,
                                                                                         Moment now, Changes& changes) {
        absl::StatusOr<v1::Job> updated =
            scheduler.Update(request.job_id(), request.etag(), revision, spec, resolved, now, changes);
        if (updated.ok()) job = *std::move(updated);
        return updated.status();
      },
      [call](const absl::Status& status) {
        if (!absl::IsNotFound(status)) return call->Reply(status);
        call->Reply(ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                                    "the job has ended just now, and what has ended is not changed"));
      });
}

}  // namespace mantissa::server
