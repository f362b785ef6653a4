#include "client/cli/commands/plot.h"

#include <algorithm>
#include <sys/ioctl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/whole_file.h"
#include "client/cli/plot/picture.h"
#include "client/cli/plot/plot_data.h"
#include "client/cli/plot/png_file.h"
#include "client/cli/plot/png_plot.h"
#include "client/cli/plot/text_plot.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr int kPage = 65'536;
constexpr int kMostPoints = 65'536;
constexpr int kLines = 32;      // where no terminal says how many it has
constexpr int kMostLines = 48;  // a curve gains nothing from more
// Points asked for, for each dot or pixel of the width.
constexpr int kPointsPerDot = 4;

int TerminalLines() {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return kLines;
  return std::min<int>(size.ws_row - 1, kMostLines);  // the prompt comes below
}

// The records, thinned by the server to what a picture of `dots` across can show, and the evaluations.
absl::StatusOr<PlotData> Read(const Context& context, const v1::Job& job, int dots) {
  PlotReader reader;
  v1::QueryHistoryRequest records;
  records.set_job_id(job.id());
  records.set_page_size(kPage);
  records.set_max_points(std::min(kMostPoints, dots * kPointsPerDot));
  for (const v1::Column::Standard column :
       {v1::Column::ITERATION, v1::Column::LINEAGE, v1::Column::LOSS, v1::Column::LOSS_SCALE, v1::Column::APPLIED,
        v1::Column::GRAD_NORM, v1::Column::RECORDS, v1::Column::SKIPPED_RECORDS}) {
    records.add_columns(column);
  }
  absl::Status asked = ForEachPage(context.connection, context.connection.jobs(), &JobService::Stub::QueryHistory,
                                   records, [&reader](const v1::QueryHistoryResponse& response) {
                                     for (const v1::Segment& segment : response.segments()) reader.Add(segment);
                                     return true;
                                   });
  if (!asked.ok()) return asked;
  v1::ListEventsRequest events;
  events.set_job_id(job.id());
  events.set_page_size(1000);
  asked = ForEachPage(context.connection, context.connection.jobs(), &JobService::Stub::ListEvents, events,
                      [&reader](const v1::ListEventsResponse& response) {
                        for (const v1::Segment& segment : response.events()) reader.AddEvent(segment.event());
                        return true;
                      });
  if (!asked.ok()) return asked;
  return reader.Take();
}

std::string NothingToDraw(const v1::Job& job) {
  return absl::StrCat(ForTerminal(JobName(job)), " has no records yet (it is ", v1::Job::State_Name(job.state()),
                      job.state_message().empty() ? "" : absl::StrCat(": ", ForTerminal(job.state_message())),
                      "); there is nothing to draw");
}

absl::Status CheckSize(const PlotOptions& options) {
  const bool png = !options.png.empty();
  const auto check = [png](const char* name, int value, int least) {
    const int most = png ? kMostPngSide : 1000;
    if (value == 0 || (value >= least && value <= most)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", value, " is not between ", least, " and ", most,
                                                   png ? " pixels" : "; it counts cells of the terminal"));
  };
  const absl::Status width = check("--width", options.width, png ? kLeastPngWidth : kLeastPlotWidth);
  return width.ok() ? check("--height", options.height, png ? kLeastPngHeight : kLeastPlotHeight) : width;
}

}  // namespace

int Plot(const Context& context, const PlotOptions& options) {
  const Console& console = context.console;
  if (context.format != OutputFormat::kTable) {
    return console.Fail(absl::InvalidArgumentError("-o: plot draws; history prints the numbers, as csv or json"));
  }
  const bool png = !options.png.empty();
  if (const absl::Status sized = CheckSize(options); !sized.ok()) return console.Fail(sized);
  if (png && options.png != "-") {
    // Before anything is asked for.
    if (const absl::Status may = MayReplace(options.png, options.force, "--png"); !may.ok()) return console.Fail(may);
  }
  const absl::StatusOr<v1::Job> found = FindJob(context.connection, options.job);
  if (!found.ok()) return console.Fail(found.status());
  v1::GetJobRequest request;  // with its spec
  request.set_job_id(found->id());
  v1::Job job;
  const absl::Status got = context.connection.Ask(context.connection.jobs(), &JobService::Stub::GetJob, request, job);
  if (!got.ok()) return console.Fail(got);
  if (job.resolved_spec().has_study()) {
    return console.Fail(absl::FailedPreconditionError(absl::StrCat(
        ForTerminal(JobName(job)), " is a study, which has no records to draw; its numbers: mantissa report ", job.id(),
        context.address_flag)));
  }
  const int width = options.width > 0 ? options.width : png ? kPngWidth : std::max(kLeastPlotWidth, console.width());
  const int height = options.height > 0 ? options.height : png ? kPngHeight : TerminalLines();
  const absl::StatusOr<PlotData> data = Read(context, job, png ? width : 2 * width);
  if (!data.ok()) return console.Fail(data.status());
  if (data->runs.empty()) {
    if (png) return console.Fail(absl::FailedPreconditionError(NothingToDraw(job)));
    console.Note(NothingToDraw(job));
    return kExitOk;
  }
  PictureOptions how;
  if (options.loss_axis != "auto") how.loss_axis = options.loss_axis == "log" ? AxisKind::kLog : AxisKind::kLinear;
  const Picture picture = MakePicture(job, *data, how);
  if (png) return WritePng(console, picture, options.png, width, height);
  const ViewOptions view = {.width = width, .color = console.out_look.color, .utf8 = console.utf8};
  console.out.Write(absl::StrCat(absl::StrJoin(RenderPlot(picture, view, height), "\n"), "\n"));
  return kExitOk;
}

}  // namespace mantissa::cli
