// Where a generation lies beneath the root named `checkpoints`: `<job>/attempt-0002/step-00001000`. Every attempt has
// a folder of its own, so one that is no longer wanted can only write where nobody reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mantissa::trainer {

// `attempt-0002/step-00001000`: unique in the job.
std::string GenerationName(std::int32_t attempt, std::int64_t step);
// For a second generation of an attempt at the same step: nothing but skipped iterations lies between them.
// `attempt-0002/step-00001000-iteration-00001031`
std::string GenerationName(std::int32_t attempt, std::int64_t step, std::int64_t iteration);

// `attempt-0002/bundle`
std::string BundleName(std::int32_t attempt);

std::string GenerationPath(std::string_view job_id, std::string_view name);

// The attempt whose folder `name` is: `attempt-0002`. Nothing for a name that no attempt's folder has.
std::optional<std::int32_t> AttemptOfFolder(std::string_view name);

// `path` is GenerationPath of this job and some name, and nothing else: no other job's, nothing above or beneath it.
bool IsGenerationOf(std::string_view job_id, std::string_view path);

}  // namespace mantissa::trainer
