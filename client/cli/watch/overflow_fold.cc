#include "client/cli/watch/overflow_fold.h"

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/watch/event_text.h"

namespace mantissa::cli {

void OverflowFold::OnOverflow(const v1::JobEvent& event, std::vector<EventLine>& told) {
  OnIteration(event.iteration(), told);
  last_iteration_ = event.iteration();
  if (++in_run_ <= kTold) {
    told.push_back({event.time(), event.severity(), EventText(event)});
    return;
  }
  if (folded_++ == 0) first_folded_ = event;
  last_folded_ = event;
}

void OverflowFold::OnIteration(std::int64_t iteration, std::vector<EventLine>& told) {
  if (in_run_ == 0) return;
  // A new attempt goes back to its checkpoint.
  if (iteration <= last_iteration_ + kRunGap && iteration >= last_iteration_) return;
  Flush(told);
  in_run_ = 0;
}

void OverflowFold::Flush(std::vector<EventLine>& told) {
  if (folded_ == 1) {
    told.push_back({last_folded_.time(), last_folded_.severity(), EventText(last_folded_)});
  } else if (folded_ > 1) {
    told.push_back({last_folded_.time(), last_folded_.severity(), Summary()});
  }
  folded_ = 0;
}

std::optional<std::string> OverflowFold::pending() const {
  if (folded_ == 0) return std::nullopt;
  return Summary();
}

std::string OverflowFold::Summary() const {
  const v1::OverflowEvent& last = last_folded_.overflow();
  std::string text = absl::StrCat(folded_, folded_ == 1 ? " iteration" : " iterations", " skipped since ",
                                  LocalClock(first_folded_.time()), " (", first_folded_.iteration(), " to ",
                                  last_folded_.iteration(), ")");
  if (last.parameters_size() > 0) absl::StrAppend(&text, ", last in ", last.parameters(0).name());
  if (last.next_loss_scale() != first_folded_.overflow().loss_scale()) {
    absl::StrAppend(&text, "; scale ", ScaleText(first_folded_.overflow().loss_scale()), " → ",
                    ScaleText(last.next_loss_scale()));
  }
  return ForTerminal(text);
}

}  // namespace mantissa::cli
