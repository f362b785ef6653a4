#pragma once

#include "client/cli/advise/advice.h"
#include "client/cli/advise/study_findings.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// Evidence, reason and changes of the third rule: what is fastest, what fits, what padding gains.
void AnswerThroughput(const v1::JobSpec& job, const StudyFindings& findings, RuleAnswer& answer);

}  // namespace mantissa::cli
