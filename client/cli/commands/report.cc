#include "client/cli/commands/report.h"

#include <vector>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/whole_file.h"
#include "client/cli/plot/png_file.h"
#include "client/cli/report/report_csv.h"
#include "client/cli/report/report_picture.h"
#include "client/cli/report/report_table.h"
#include "client/cli/report/report_text.h"

namespace mantissa::cli {
namespace {

int PrintText(const Context& context, const ReportOptions& options, const v1::Job& job, const v1::Report& report) {
  const Console& console = context.console;
  const std::string text =
      ReportText(report, {.width = console.width(),
                          .job = JobName(job),
                          .command = absl::StrCat("mantissa report ", job.id(), context.address_flag, " --section"),
                          .section = options.section});
  console.out.Write(console.utf8 ? text : ToAscii(text));
  return kExitOk;
}

int PrintCsv(const Console& console, const v1::Report& report) {
  const std::vector<ReportSection> sections = SectionsOf(report);
  if (sections.empty()) return console.Fail(absl::NotFoundError("the report has no rows; -o json prints all of it"));
  console.out.Write(ReportCsv(sections.front()));
  return kExitOk;
}

// What the options ask for goes together, and can be done.
absl::Status CheckOptions(const Context& context, const ReportOptions& options) {
  if (options.png.empty()) return absl::OkStatus();
  if (context.format != OutputFormat::kTable) {
    return absl::InvalidArgumentError("-o: --png draws; leave one of them out");
  }
  if (!options.section.empty()) {
    return absl::InvalidArgumentError("--section: --png draws what there is to draw; leave one of them out");
  }
  return options.png == "-" ? absl::OkStatus() : MayReplace(options.png, options.force, "--png");
}

int PrintPicture(const Console& console, const ReportOptions& options, const v1::Job& job, const v1::Report& report) {
  const absl::StatusOr<Picture> picture = PictureOf(job, report);
  if (!picture.ok()) return console.Fail(picture.status());
  return WritePng(console, *picture, options.png, kPngWidth, kPngHeight);
}

}  // namespace

int ShowReport(const Context& context, const ReportOptions& options) {
  const Console& console = context.console;
  if (const absl::Status may = CheckOptions(context, options); !may.ok()) return console.Fail(may);
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());
  v1::GetReportRequest request;
  request.set_job_id(job->id());
  request.set_section(options.section);
  v1::GetReportResponse response;
  const absl::Status asked =
      context.connection.Ask(context.connection.jobs(), &v1::JobService::Stub::GetReport, request, response);
  if (!asked.ok()) return console.Fail(asked);
  const v1::Report& report = response.report();
  if (!options.png.empty()) return PrintPicture(console, options, *job, report);
  switch (context.format) {
    case OutputFormat::kJson:
    case OutputFormat::kYaml:
      PrintJson(console, context.format, ToJson(report));
      return kExitOk;
    case OutputFormat::kName:
      for (const ReportSection& section : SectionsOf(report)) console.out.Write(section.name + "\n");
      return kExitOk;
    case OutputFormat::kCsv:
      return PrintCsv(console, report);
    case OutputFormat::kTable:
      break;
  }
  return PrintText(context, options, *job, report);
}

}  // namespace mantissa::cli
