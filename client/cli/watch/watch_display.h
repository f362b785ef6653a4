// Where a watch is shown: a refreshing block on a terminal, lines in a log, frames for a program, or nothing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/console.h"
#include "client/cli/output/output_format.h"
#include "client/cli/watch/watch_model.h"
#include "client/cli/watch/watch_view.h"
#include "mantissa/v1/job_service.pb.h"

namespace mantissa::cli {

// Used by one thread.
class WatchDisplay {
 public:
  virtual ~WatchDisplay() = default;
  // Each frame as it came.
  virtual void ShowFrame(const v1::WatchJobResponse&) {}
  // Lines of history and the state after them. `notice`: what is wrong with the connection.
  virtual void Show(const std::vector<EventLine>& events, const WatchState& state,
                    const std::optional<std::string>& notice, process::SteadyTime now) = 0;
  // No more is shown; the terminal is as it was found.
  virtual void Close() {}
};

// A block that is redrawn in place, history above it. A frame is one write, bracketed as a synchronised update, so that
// it never flickers; the cursor stands below the block, so that whatever else is written does not land in it.
class TerminalDisplay final : public WatchDisplay {
 public:
  explicit TerminalDisplay(const Console& console);
  ~TerminalDisplay() override { Close(); }
  void Show(const std::vector<EventLine>& events, const WatchState& state, const std::optional<std::string>& notice,
            process::SteadyTime now) override;
  void Close() override;

 private:
  const Console& console_;
  std::vector<std::string> block_;  // what is on the screen
  std::vector<int> drawn_;          // columns of each of its lines
  int drawn_width_ = 0;             // of the terminal then
  bool cursor_hidden_ = false;
};

// History on stdout as it comes; on stderr a line of progress now and then.
class LineDisplay final : public WatchDisplay {
 public:
  static constexpr std::chrono::seconds kEvery{10};

  // `events`: where history goes.
  LineDisplay(const Console& console, Output& events) : console_(console), events_(events) {}
  void Show(const std::vector<EventLine>& events, const WatchState& state, const std::optional<std::string>& notice,
            process::SteadyTime now) override;

 private:
  const Console& console_;
  Output& events_;
  std::optional<std::string> last_notice_;
  std::optional<process::SteadyTime> last_progress_;
  std::int64_t last_iteration_ = 0;
  int last_tenth_ = 0;
};

// Every frame as a JSON line, or as a YAML document, on stdout; what is wrong with the connection on stderr.
class FrameDisplay final : public WatchDisplay {
 public:
  FrameDisplay(const Console& console, OutputFormat format) : console_(console), format_(format) {}
  void ShowFrame(const v1::WatchJobResponse& frame) override;
  void Show(const std::vector<EventLine>& events, const WatchState& state, const std::optional<std::string>& notice,
            process::SteadyTime now) override;

 private:
  const Console& console_;
  const OutputFormat format_;
  std::optional<std::string> last_notice_;
};

// What is wrong with the connection on stderr, and nothing else.
class SilentDisplay final : public WatchDisplay {
 public:
  explicit SilentDisplay(const Console& console) : console_(console) {}
  void Show(const std::vector<EventLine>& events, const WatchState& state, const std::optional<std::string>& notice,
            process::SteadyTime now) override;

 private:
  const Console& console_;
  std::optional<std::string> last_notice_;
};

}  // namespace mantissa::cli
