#include "client/cli/commands/advise.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "client/cli/advise/advice.h"
#include "client/cli/advise/advice_text.h"
#include "client/cli/advise/study_plan.h"
#include "client/cli/advise/study_wait.h"
#include "client/cli/commands/submit.h"
#include "client/cli/output/display_text.h"
#include "process/ids.h"

namespace mantissa::cli {

int Advise(const Context& context, const AdviseOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::JobSpec> job = GoodSpec(options.source);
  if (!job.ok()) return console.Fail(job.status());
  if (!job->has_training()) {
    return console.Fail(absl::InvalidArgumentError(
        "study: advice is given of a training, and this spec is a study already; submit it, or give a spec with "
        "training"));
  }
  const std::string advice_id = process::RandomUuid();
  StudyWait studies(context, advice_id, options.retry_for);
  const absl::Status submitted = studies.Submit(
      PlanStudies(*job, {.iterations = options.iterations, .seeds = options.seeds, .advice_id = advice_id}));
  if (!submitted.ok()) return console.Fail(submitted);
  console.Note(
      absl::StrCat("studies of the label ", std::string(kAdviceLabel), "=", advice_id, "; Ctrl-C cancels them"));
  const absl::Status waited = studies.Run();
  if (absl::IsCancelled(waited)) {
    console.Note("interrupted; the studies are cancelled");
    return kExitInterrupted;
  }
  if (!waited.ok()) return console.Fail(waited);
  const std::vector<StudyOutcome> outcomes = studies.Outcomes();
  const Advice advice = AdviseOn(*job, outcomes);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, AdviceJson(advice, outcomes));
  } else if (context.format == OutputFormat::kName) {
    for (const StudyOutcome& outcome : outcomes) {
      if (!outcome.job_id.empty()) console.out.Write(outcome.job_id + "\n");
    }
  } else {
    const std::string text = AdviceText(advice, outcomes, options.source.file, context.address_flag, console.width());
    console.out.Write(console.utf8 ? text : ToAscii(text));
  }
  const bool any =
      std::any_of(outcomes.begin(), outcomes.end(), [](const StudyOutcome& it) { return it.report.has_value(); });
  return any ? kExitOk : kExitJobFailed;
}

}  // namespace mantissa::cli
