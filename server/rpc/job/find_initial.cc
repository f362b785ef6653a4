#include "server/rpc/job/find_initial.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "server/core/checkpoint_policy.h"

namespace mantissa::server {
namespace {

using spec::ViolationReason;

constexpr size_t kMaxStepsNamed = 8;

// `; it has steps 200, 400`, the newest ones.
std::string StepsText(const std::vector<v1::Checkpoint>& checkpoints, const std::vector<size_t>& deletable) {
  std::set<int32_t> steps;
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    const int32_t step = checkpoint.step();
    if (step > 0 && ChooseInitial(checkpoints, deletable, step) != nullptr) steps.insert(step);
  }
  while (steps.size() > kMaxStepsNamed) steps.erase(steps.begin());
  return steps.empty() ? "" : absl::StrCat("; it has ", absl::StrJoin(steps, ", "));
}

}  // namespace

absl::StatusOr<std::optional<v1::Checkpoint>> FindInitial(Backend& backend, const std::string& tenant,
                                                          const v1::JobSpec& spec,
                                                          std::vector<spec::Violation>& violations) {
  const v1::InitFrom& init_from = spec.training().init_from();
  if (init_from.source_case() != v1::InitFrom::kJobId) return std::nullopt;
  absl::StatusOr<v1::Job> source = backend.store.GetJob(init_from.job_id(), tenant);
  if (absl::IsNotFound(source.status())) {
    violations.push_back(
        {"training.init_from.job_id", ViolationReason::kUnknownValue,
         absl::StrCat("is ", init_from.job_id(), ", and there is no such job; `mantissa list` shows those there are")});
    return std::nullopt;
  }
  if (!source.ok()) return source.status();
  absl::StatusOr<std::vector<v1::Checkpoint>> checkpoints = backend.store.ListCheckpoints(init_from.job_id());
  if (!checkpoints.ok()) return checkpoints.status();
  std::reverse(checkpoints->begin(), checkpoints->end());  // oldest first
  const int32_t keep = source->resolved_spec().training().checkpoint().keep();
  const std::vector<size_t> deletable = DeletableCheckpoints(*checkpoints, keep, "");
  if (const v1::Checkpoint* found = ChooseInitial(*checkpoints, deletable, init_from.step())) return *found;
  if (init_from.step() == 0) {
    violations.push_back({"training.init_from.job_id", ViolationReason::kConflict,
                          "has no finite checkpoint yet; wait for one, as `mantissa checkpoints` shows them"});
  } else {
    violations.push_back({"training.init_from.step", ViolationReason::kUnknownValue,
                          absl::StrCat("is ", init_from.step(), ", and the job keeps no finite checkpoint of it",
                                       StepsText(*checkpoints, deletable), "; leave it out for the newest")});
  }
  return std::nullopt;
}

}  // namespace mantissa::server
