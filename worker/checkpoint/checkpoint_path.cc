#include "worker/checkpoint/checkpoint_path.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mantissa::trainer {
namespace {

bool ConsumePrefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// At least `least` digits, at most 19.
bool ConsumeDigits(std::string_view& text, std::size_t least) {
  std::size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  text.remove_prefix(count);
  return count >= least && count <= 19;
}

std::string AttemptFolder(std::int32_t attempt) { return absl::StrFormat("attempt-%04d", attempt); }

}  // namespace

std::string GenerationName(std::int32_t attempt, std::int64_t step) {
  return absl::StrCat(AttemptFolder(attempt), absl::StrFormat("/step-%08d", step));
}

std::string GenerationName(std::int32_t attempt, std::int64_t step, std::int64_t iteration) {
  return absl::StrFormat("%s-iteration-%08d", GenerationName(attempt, step), iteration);
}

std::string BundleName(std::int32_t attempt) { return AttemptFolder(attempt) + "/bundle"; }

std::string GenerationPath(std::string_view job_id, std::string_view name) {
  return absl::StrCat(std::string(job_id), "/", std::string(name));
}

std::optional<std::int32_t> AttemptOfFolder(std::string_view name) {
  std::string_view digits = name;
  std::int32_t attempt = 0;
  if (!ConsumePrefix(digits, "attempt-") || !absl::SimpleAtoi(std::string(digits), &attempt)) return std::nullopt;
  if (attempt < 1 || AttemptFolder(attempt) != name) return std::nullopt;
  return attempt;
}

bool IsGenerationOf(std::string_view job_id, std::string_view path) {
  if (job_id.empty() || job_id.find('/') != std::string_view::npos) return false;
  if (!ConsumePrefix(path, job_id) || !ConsumePrefix(path, "/attempt-") || !ConsumeDigits(path, 4)) return false;
  if (!ConsumePrefix(path, "/step-") || !ConsumeDigits(path, 8)) return false;
  return path.empty() || (ConsumePrefix(path, "-iteration-") && ConsumeDigits(path, 8) && path.empty());
}

}  // namespace mantissa::trainer
