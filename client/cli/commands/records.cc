#include "client/cli/commands/records.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/watch/record_cells.h"
#include "client/cli/watch/record_rows.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr int kPage = 65'536;

using Standard = v1::Column::Standard;

std::string NameOf(Standard column) { return absl::AsciiStrToLower(v1::Column::Standard_Name(column)); }

std::string NameOf(const RecordColumn& column) {
  switch (column.statistic) {
    case v1::Column::MINIMUM:
      return NameOf(column.standard) + "_min";
    case v1::Column::MAXIMUM:
      return NameOf(column.standard) + "_max";
    default:
      return NameOf(column.standard);
  }
}

// What only a thinned row has.
bool IsOfThinned(Standard column) { return column == v1::Column::RECORDS || column == v1::Column::SKIPPED_RECORDS; }

bool HasEnds(Standard column) {
  return column == v1::Column::LOSS || column == v1::Column::LOSS_SCALE || column == v1::Column::GRAD_NORM ||
         column == v1::Column::ITERATION_SECONDS;
}

// Every quantity a record has, in the order of the API.
std::vector<Standard> AllColumns() {
  std::vector<Standard> all;
  const auto& descriptor = *v1::Column::Standard_descriptor();
  for (int i = 1; i < descriptor.value_count(); ++i) {
    const auto column = static_cast<Standard>(descriptor.value(i)->number());
    if (!IsOfThinned(column)) all.push_back(column);
  }
  return all;
}

absl::StatusOr<std::vector<Standard>> ColumnsOf(const std::vector<std::string>& names) {
  if (names.empty()) return AllColumns();
  std::vector<Standard> columns;
  for (const std::string& name : names) {
    Standard column = v1::Column::STANDARD_UNSPECIFIED;
    v1::Column::Standard_Parse(absl::AsciiStrToUpper(name), &column);
    if (column == v1::Column::STANDARD_UNSPECIFIED || IsOfThinned(column)) {
      std::vector<std::string> known;
      for (const Standard one : AllColumns()) known.push_back(NameOf(one));
      return absl::InvalidArgumentError(absl::StrCat("--columns: there is no column ", ForTerminal(name),
                                                     "; there are ", absl::StrJoin(known, ", ")));
    }
    columns.push_back(column);
  }
  return columns;
}

// What is printed of these quantities.
std::vector<RecordColumn> PrintedColumns(const std::vector<Standard>& columns, bool thinned) {
  std::vector<RecordColumn> printed;
  for (const Standard column : columns) printed.push_back({column});
  if (!thinned) return printed;
  for (const Standard column : columns) {
    if (!HasEnds(column)) continue;
    printed.push_back({column, v1::Column::MINIMUM});
    printed.push_back({column, v1::Column::MAXIMUM});
  }
  printed.push_back({v1::Column::RECORDS});
  printed.push_back({v1::Column::SKIPPED_RECORDS});
  return printed;
}

// The sequence of each row's last record.
std::vector<std::int64_t> SequencesOf(const v1::Segment& segment) {
  std::vector<std::int64_t> sequences;
  const std::vector<IterationRow> rows = DecodeRows(segment);
  std::int64_t next = segment.first_sequence();
  for (int row = 0; row < segment.count(); ++row) {
    next += static_cast<std::size_t>(row) < rows.size() ? rows[row].records : 1;
    sequences.push_back(next - 1);
  }
  // A row that has events among its records is alone.
  if (segment.through_sequence() > 0 && !sequences.empty()) sequences.back() = segment.through_sequence();
  return sequences;
}

// Where records go, one after another. What only thinned rows have is printed of them alone in JSON; a table has
// columns for it where thinned rows were asked for, or the first are, for a store thins what is old.
class Writer {
 public:
  Writer(const Console& console, bool json, std::vector<Standard> quantities, bool thinned)
      : console_(console), json_(json), quantities_(std::move(quantities)), thinned_(thinned || json) {}

  void Add(const v1::Segment& segment) {
    if (segment.has_gap()) return AddGap(segment);
    const bool thinned = segment.through_sequence() > 0;
    if (!begun_) thinned_ = thinned_ || thinned;
    Begin();
    if (thinned && !thinned_ && !std::exchange(told_, true)) {
      console_.Note("some rows stand for several records, thinned in the store; --max-points prints for how many");
    }
    RecordCells cells(segment.records(), columns_);
    std::string text;
    for (const std::int64_t sequence : SequencesOf(segment)) {
      const std::vector<RecordCell> values = cells.Next();
      json_ ? AppendObject(sequence, segment.attempt(), values, text)
            : AppendLine(sequence, segment.attempt(), values, text);
    }
    console_.out.Write(text);
  }

  void End() {
    Begin();
    if (json_) console_.out.Write(absl::StrCat("\n], \"gaps\": [", absl::StrJoin(gaps_, ", "), "]}\n"));
  }

 private:
  void Begin() {
    if (std::exchange(begun_, true)) return;
    columns_ = PrintedColumns(quantities_, thinned_);
    std::vector<std::string> names = {"sequence", "attempt"};
    for (const RecordColumn& column : columns_) names.push_back(NameOf(column));
    console_.out.Write(json_ ? "{\"records\": [" : absl::StrJoin(names, ",") + "\n");
  }

  void AppendLine(std::int64_t sequence, std::int32_t attempt, const std::vector<RecordCell>& values,
                  std::string& text) {
    absl::StrAppend(&text, sequence, ",", attempt);
    for (const RecordCell& value : values) absl::StrAppend(&text, ",", value.text);
    text += "\n";
  }

  void AppendObject(std::int64_t sequence, std::int32_t attempt, const std::vector<RecordCell>& values,
                    std::string& text) {
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
  const std::vector<Standard> quantities_;
  bool thinned_;  // columns for it are printed
  bool begun_ = false, told_ = false;
  std::vector<RecordColumn> columns_;
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
  request.set_max_points(options.max_points);
  if (!options.columns.empty()) request.mutable_columns()->Add(columns->begin(), columns->end());
  Writer writer(console, context.format == OutputFormat::kJson, *columns, options.max_points > 0);
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
