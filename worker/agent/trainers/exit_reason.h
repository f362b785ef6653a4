// Why a trainer process is gone, in the terms of the API.
#pragma once

#include <string>
#include <string_view>

#include "mantissa/v1/job.pb.h"

namespace mantissa::agent {

struct ExitReason {
  v1::Reason::Code code = v1::Reason::CRASHED;
  std::string message;
};

// `wait_status` as waitpid(2) has it; `last_words` is the end of what the trainer wrote to stderr.
ExitReason ExplainExit(int wait_status, bool out_of_memory, std::string_view last_words);

}  // namespace mantissa::agent
