#include "client/cli/commands/records.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/watch/record_cells.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr int kPage = 65'536;

std::string NameOf(v1::Column::Standard column) { return absl::AsciiStrToLower(v1::Column::Standard_Name(column)); }

// Every column there is, in the order of the API.
std::vector<v1::Column::Standard> AllColumns() {
  std::vector<v1::Column::Standard> all;
  const auto& descriptor = *v1::Column::Standard_descriptor();
  for (int i = 1; i < descriptor.value_count(); ++i) {
    all.push_back(static_cast<v1::Column::Standard>(descriptor.value(i)->number()));
  }
  return all;
}

absl::StatusOr<std::vector<v1::Column::Standard>> ColumnsOf(const std::vector<std::string>& names) {
  if (names.empty()) return AllColumns();
  std::vector<v1::Column::Standard> columns;
  for (const std::string& name : names) {
    v1::Column::Standard column = v1::Column::STANDARD_UNSPECIFIED;
    v1::Column::Standard_Parse(absl::AsciiStrToUpper(name), &column);
    if (column == v1::Column::STANDARD_UNSPECIFIED) {
      std::vector<std::string> known;
      for (const v1::Column::Standard one : AllColumns()) known.push_back(NameOf(one));
      return absl::InvalidArgumentError(absl::StrCat("--columns: there is no column ", ForTerminal(name),
                                                     "; there are ", absl::StrJoin(known, ", ")));
    }
    columns.push_back(column);
  }
  return columns;
}

// Where records go, one after another.
class Writer {
 public:
  Writer(const Console& console, bool json, std::vector<v1::Column::Standard> columns)
      : console_(console), json_(json), columns_(std::move(columns)) {
    std::vector<std::string> names = {"sequence", "attempt"};
    for (const v1::Column::Standard column : columns_) names.push_back(NameOf(column));
    console_.out.Write(json_ ? "{\"records\": [" : absl::StrJoin(names, ",") + "\n");
  }

  void Add(const v1::Segment& segment) {
    if (segment.has_gap()) return AddGap(segment);
    RecordCells cells(segment.records(), columns_);
    std::string text;
    for (int row = 0; row < segment.count(); ++row) {
      const std::vector<Cell> values = cells.Next();
      const std::int64_t sequence = segment.first_sequence() + row;
      json_ ? AppendObject(sequence, segment.attempt(), values, text)
            : AppendLine(sequence, segment.attempt(), values, text);
    }
    console_.out.Write(text);
  }

  void End() {
    if (json_) console_.out.Write(absl::StrCat("\n], \"gaps\": [", absl::StrJoin(gaps_, ", "), "]}\n"));
  }

 private:
  void AppendLine(std::int64_t sequence, std::int32_t attempt, const std::vector<Cell>& values, std::string& text) {
    absl::StrAppend(&text, sequence, ",", attempt);
    for (const Cell& value : values) absl::StrAppend(&text, ",", value.text);
    text += "\n";
  }

  void AppendObject(std::int64_t sequence, std::int32_t attempt, const std::vector<Cell>& values, std::string& text) {
    absl::StrAppend(&text, first_ ? "\n" : ",\n", "{\"sequence\": ", sequence, ", \"attempt\": ", attempt);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i].text.empty()) continue;
      const char* const quote = values[i].is_number ? "" : "\"";
      absl::StrAppend(&text, ", \"", NameOf(columns_[i]), "\": ", quote, values[i].text, quote);
    }
    text += "}";
    first_ = false;
  }

  void AddGap(const v1::Segment& segment) {
    if (json_) {
      gaps_.push_back(absl::StrCat("{\"sequence\": ", segment.first_sequence(), ", \"attempt\": ", segment.attempt(),
                                   ", \"records\": ", segment.gap().summary().records(), "}"));
      return;
    }
    console_.Note(absl::StrCat("records are missing after sequence ", segment.first_sequence() - 1, " (attempt ",
                               segment.attempt(), "): ", ForTerminal(segment.gap().reason())));
  }

  const Console& console_;
  const bool json_;
  const std::vector<v1::Column::Standard> columns_;
  std::vector<std::string> gaps_;
  bool first_ = true;
};

}  // namespace

int History(const Context& context, const HistoryOptions& options) {
  const Console& console = context.console;
  if (context.format == OutputFormat::kYaml || context.format == OutputFormat::kName) {
    return console.Fail(absl::InvalidArgumentError("-o: history prints csv or json"));
  }
  const auto columns = ColumnsOf(options.columns);
  if (!columns.ok()) return console.Fail(columns.status());
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());

  v1::QueryHistoryRequest request;
  request.set_job_id(job->id());
  request.set_page_size(kPage);
  request.mutable_range()->set_from(options.from);
  request.mutable_range()->set_to(options.to);
  if (!options.columns.empty()) request.mutable_columns()->Add(columns->begin(), columns->end());
  Writer writer(console, context.format == OutputFormat::kJson, *columns);
  const absl::Status asked = ForEachPage(context.connection, context.connection.jobs(), &JobService::Stub::QueryHistory,
                                         request, [&](v1::QueryHistoryResponse& response) {
                                           for (const v1::Segment& segment : response.segments()) writer.Add(segment);
                                           return !console.out.failed();
                                         });
  if (!asked.ok()) return console.Fail(asked);
  writer.End();
  return kExitOk;
}

}  // namespace mantissa::cli
