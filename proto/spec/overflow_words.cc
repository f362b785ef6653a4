#include "proto/spec/overflow_words.h"

#include "absl/strings/str_cat.h"

namespace mantissa::spec {
namespace {

std::string Place(const v1::OverflowLocation& location) {
  switch (location.stage()) {
    case v1::OverflowLocation::INPUT:
      return "the input";
    case v1::OverflowLocation::ACTIVATION:
      return absl::StrCat("the output of ", location.module());
    case v1::OverflowLocation::LOSS:
      return "the loss";
    case v1::OverflowLocation::ACTIVATION_GRADIENT:
      return absl::StrCat("the gradient of ", location.module(), "'s output");
    case v1::OverflowLocation::WEIGHT_GRADIENT:
      return absl::StrCat("the gradient of ", location.parameter());
    case v1::OverflowLocation::ACCUMULATED_SUM:
      return absl::StrCat("the sum of the gradients of ", location.parameter(), " over micro-batches");
    default:
      return "a place that this release does not know";
  }
}

}  // namespace

std::string LocationWords(const v1::OverflowLocation& location) {
  if (location.stage() == v1::OverflowLocation::NOT_REPRODUCED) {
    return "nothing that happened again: run once more, everything was finite, so suspect the hardware";
  }
  std::string words = absl::StrCat(
      Place(location), " (", CountWords(location.inf_count(), location.nan_count(), location.element_count()), ")");
  if (location.micro_batches() > 1) {
    absl::StrAppend(&words, " in micro-batch ", location.micro_batch(), " of ", location.micro_batches());
  }
  return words;
}

std::string CountWords(std::int64_t inf_count, std::int64_t nan_count, std::int64_t element_count) {
  std::string counts;
  if (inf_count > 0) absl::StrAppend(&counts, inf_count, " Inf");
  if (nan_count > 0) absl::StrAppend(&counts, counts.empty() ? "" : " and ", nan_count, " NaN");
  return absl::StrCat(counts, " of ", element_count);
}

}  // namespace mantissa::spec
