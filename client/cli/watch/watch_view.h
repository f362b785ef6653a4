// The watch's picture, as text: pure functions from state to lines.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/cli/watch/styled_line.h"
#include "client/cli/watch/watch_model.h"

namespace mantissa::cli {

// The refreshing block, one string a line, without line feeds:
//
//   digits-fp16   RUNNING   attempt 1 on ws-1 · cpu · FP16
//   iteration 412/690 ━━━━━━━━━━━╸─────── 59 %   0:03 left   14.2k samples/s
//   loss 0.0812 ▇▆▅▃▂▂▁▁   eval accuracy 0.958   grad norm 0.71   lr 2.1e-3
//   scale 16384, grows in 1588 steps   applied 410, skipped 2 (0.5 %)   STEADY
//
// What does not fit is left out, the least important first. `notice` is a last line about the connection.
std::vector<std::string> RenderBlock(const WatchState& state, const ViewOptions& options,
                                     const std::optional<std::string>& notice = std::nullopt);

// A line of history: local time and text, wrapped at words with the text's column kept.
std::vector<std::string> RenderEvent(const EventLine& event, const ViewOptions& options);

// The block on one line, for logs: `iteration 412/690 (59 %)  loss 0.0812  scale 16384  skipped 2  …`.
std::string RenderProgressLine(const WatchState& state);

// What has come out, when the job has ended: state, result, numbers, what to do next. `job` is in FULL view; `address`
// is what its commands need to reach the server (` --address X`), or empty.
std::vector<std::string> RenderSummary(const v1::Job& job, const ViewOptions& options, const std::string& address);

// What came out of the training, in one phrase: `eval accuracy 0.958, loss 0.0312`.
std::string ResultText(const v1::JobResult& result);

Style StyleOf(v1::Job::State state);

// Heavy for what is done, light for what is left.
std::vector<Span> Bar(double ratio, int columns);

// 0.5 %, <0.1 %, 12 %.
std::string Percent(double ratio);

// The course as columns of eight heights; a point that is NaN is a cross.
std::string Sparkline(const std::vector<double>& points);

}  // namespace mantissa::cli
