#include "client/cli/output/lineage_text.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "client/cli/output/number_text.h"

namespace mantissa::cli {

std::string PrecisionText(v1::PrecisionSpec::Mode submitted, v1::PrecisionSpec::Mode effective, bool emulated) {
  const std::string text = absl::StrCat(v1::PrecisionSpec::Mode_Name(effective), emulated ? " EMULATED" : "");
  if (submitted == v1::PrecisionSpec::MODE_UNSPECIFIED || submitted == effective) return text;
  return absl::StrCat(v1::PrecisionSpec::Mode_Name(submitted), " → ", text);
}

std::string LineageText(const v1::Lineage& lineage) {
  std::string text = std::to_string(lineage.number());
  if (lineage.rollbacks() == 0) return text;
  std::int64_t windows = 0;
  for (const v1::IndexRange& range : lineage.skipped_windows()) {
    windows += std::int64_t{range.last()} - range.first() + 1;
  }
  const std::string times = lineage.rollbacks() == 1   ? "once"
                            : lineage.rollbacks() == 2 ? "twice"
                                                       : absl::StrCat(lineage.rollbacks(), " times");
  absl::StrAppend(&text, ", rolled back ", times, ", learning rate x ", ShortNumber(lineage.learning_rate_factor()),
                  ", ", GroupedCount(windows), windows == 1 ? " window left out" : " windows left out");
  return text;
}

}  // namespace mantissa::cli
