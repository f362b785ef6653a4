// mantissa submit, mantissa validate.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"

#include "client/cli/commands/context.h"
#include "client/cli/spec/spec_file.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

struct SubmitOptions {
  SpecSource source;
  bool watch = false;
  // Made here when empty, so that a repeated call can't make two jobs.
  std::string request_id;
  // How long a server that does not answer is tried.
  std::chrono::milliseconds retry_for = std::chrono::seconds(10);
};

int Submit(const Context& context, const SubmitOptions& options);
// The same of a spec that is read already, whatever the source.
int SubmitSpec(const Context& context, const SpecFile& file, const SubmitOptions& options);

// The job spec of a file that is good, as this program sees it, with its defaults resolved; else everything that is
// wrong with it.
absl::StatusOr<v1::JobSpec> GoodSpec(const SpecSource& source);

struct ValidateOptions {
  enum class Where {
    kBoth,    // here, and by the server when it can be reached
    kLocal,   // here alone
    kServer,  // here and by the server, which must be reached
  };
  SpecSource source;
  Where where = Where::kBoth;
};

int Validate(const Context& context, const ValidateOptions& options);

}  // namespace mantissa::cli
