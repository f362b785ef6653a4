// The playbook's six rules answered for one training, from the reports of its studies. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/report.pb.h"

namespace mantissa::cli {

// How a study ended.
struct StudyOutcome {
  v1::StudySpec::KindCase study = v1::StudySpec::KIND_NOT_SET;
  std::string job_id = {};
  std::optional<v1::Report> report = std::nullopt;
  std::string failure = {};  // why there is no report: what the job said
};

struct SpecChange {
  std::string field;  // path from the job spec down
  std::string from;   // as it is there, or by default
  std::string to;
};

struct RuleAnswer {
  enum class Answer { kAsItIs, kChange, kUnknown };
  int number = 0;
  std::string rule;
  Answer answer = Answer::kAsItIs;
  std::string reason;                 // a sentence without its full stop
  std::vector<std::string> evidence;  // figures from the reports, a line each
  std::vector<SpecChange> changes;    // of kChange: at least one, no field twice
};

struct Advice {
  std::string device;  // that the studies ran on; empty where none has a report
  std::vector<RuleAnswer> rules;
};

struct PlaybookRule {
  std::string_view rule;
  std::string_view how;  // it is answered
};

// The six, in order.
const std::vector<PlaybookRule>& Playbook();

// AS_IT_IS, CHANGE, UNKNOWN.
std::string_view AnswerName(RuleAnswer::Answer answer);

// `job` is valid, has its defaults, and is a training. A study that is not among the outcomes was not planned.
Advice AdviseOn(const v1::JobSpec& job, const std::vector<StudyOutcome>& outcomes);

}  // namespace mantissa::cli
