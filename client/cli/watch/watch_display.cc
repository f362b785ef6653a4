#include "client/cli/watch/watch_display.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/message_text.h"

namespace mantissa::cli {
namespace {

constexpr std::string_view kBeginUpdate = "\x1b[?2026h";  // terminals that don't know it ignore it
constexpr std::string_view kEndUpdate = "\x1b[?2026l";
constexpr std::string_view kHideCursor = "\x1b[?25l";
constexpr std::string_view kShowCursor = "\x1b[?25h";
constexpr std::string_view kClearBelow = "\x1b[J";
constexpr std::string_view kClearLine = "\x1b[K";

std::string WithoutColor(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = std::min(text.find('m', i), text.size() - 1);
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// Told once when it begins and once when it is over.
void TellNotice(const Console& console, std::optional<std::string>& last, const std::optional<std::string>& notice) {
  if (notice.has_value() == last.has_value()) return;
  console.Note(notice ? *notice : "the server is back");
  last = notice;
}

}  // namespace

TerminalDisplay::TerminalDisplay(const Console& console) : console_(console) {}

void TerminalDisplay::Show(const std::vector<EventLine>& events, const WatchState& state,
                           const std::optional<std::string>& notice, process::SteadyTime) {
  const int width = std::max(1, console_.width());
  const ViewOptions options = {.width = width, .color = console_.out_look.color, .utf8 = console_.utf8};
  std::vector<std::string> block = RenderBlock(state, options, notice);
  if (events.empty() && block == block_ && width == drawn_width_) return;
  std::string frame(kBeginUpdate);
  if (!cursor_hidden_) frame += kHideCursor;
  cursor_hidden_ = true;
  // A terminal that became narrower has wrapped what was drawn for the old width.
  int rows = 0;
  for (const int columns : drawn_) rows += std::max(1, (columns + width - 1) / width);
  if (rows > 0) absl::StrAppend(&frame, "\x1b[", rows, "A");
  frame += '\r';
  if (!events.empty()) {
    frame += kClearBelow;
    for (const EventLine& event : events) {
      for (const std::string& line : RenderEvent(event, options)) absl::StrAppend(&frame, line, "\n");
    }
  }
  block_ = std::move(block);
  drawn_width_ = width;
  drawn_.clear();
  for (const std::string& line : block_) {
    absl::StrAppend(&frame, line, std::string(kClearLine), "\n");
    drawn_.push_back(DisplayWidth(WithoutColor(line)));
  }
  frame += kClearBelow;
  frame += kEndUpdate;
  console_.out.Write(frame);
}

void TerminalDisplay::Close() {
  if (cursor_hidden_) console_.out.Write(kShowCursor);
  cursor_hidden_ = false;
}

void LineDisplay::Show(const std::vector<EventLine>& events, const WatchState& state,
                       const std::optional<std::string>& notice, process::SteadyTime now) {
  std::string text;
  // A line of a log is never wrapped.
  const ViewOptions options = {.width = 1 << 20, .color = false, .utf8 = console_.utf8};
  for (const EventLine& event : events) {
    for (const std::string& line : RenderEvent(event, options)) absl::StrAppend(&text, line, "\n");
  }
  if (!text.empty()) events_.Write(text);
  TellNotice(console_, last_notice_, notice);
  // What is replayed is history, told by its events.
  if (!state.live || state.ended || state.iteration == last_iteration_) return;
  const int tenth =
      state.total_iterations > 0 ? static_cast<int>(10 * state.iteration / state.total_iterations) : last_tenth_;
  if (last_progress_ && now - *last_progress_ < kEvery && tenth == last_tenth_) return;
  last_progress_ = now;
  last_iteration_ = state.iteration;
  last_tenth_ = tenth;
  console_.Note(RenderProgressLine(state));
}

void FrameDisplay::ShowFrame(const v1::WatchJobResponse& frame) {
  if (format_ == OutputFormat::kYaml) {
    console_.out.Write(absl::StrCat("---\n", JsonToYaml(ToJson(frame))));
  } else {
    console_.out.Write(ToJsonLine(frame));
  }
}

void FrameDisplay::Show(const std::vector<EventLine>&, const WatchState&, const std::optional<std::string>& notice,
                        process::SteadyTime) {
  TellNotice(console_, last_notice_, notice);
}

void SilentDisplay::Show(const std::vector<EventLine>&, const WatchState&, const std::optional<std::string>& notice,
                         process::SteadyTime) {
  TellNotice(console_, last_notice_, notice);
}

}  // namespace mantissa::cli
