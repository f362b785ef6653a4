// An advice as people and machines read it. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/cli/advise/advice.h"
#include "client/cli/explain/explanation.h"

namespace mantissa::cli {

// Each rule with its answer, evidence and changes, on lines of at most `width` columns; then the command that submits
// `file` as changed, where anything is, and where the reports are. `address_flag` as in Context.
std::string AdviceText(const Advice& advice, const std::vector<StudyOutcome>& outcomes, const std::string& file,
                       const std::string& address_flag, int width);

// The same as a JSON document: `device`, `studies` (`study`, `job_id`, `finding` or `failure`) and `rules` (`number`,
// `rule`, `answer`, `reason`, `evidence`, `changes`: `field`, `from`, `to`).
std::string AdviceJson(const Advice& advice, const std::vector<StudyOutcome>& outcomes);

// `mantissa explain advise`.
Explanation ExplainAdvice();

}  // namespace mantissa::cli
