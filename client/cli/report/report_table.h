// The tables of a report, whatever study it is of: read off the messages, so that a field that comes later is a column
// without a line of code. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "google/protobuf/message.h"

#include "mantissa/v1/report.pb.h"

namespace mantissa::cli {

// What the study found; null where the report holds no result. Belongs to `report`.
const google::protobuf::Message* ResultOf(const v1::Report& report);

// A repeated field of the result. Points into the report.
struct ReportSection {
  std::string name;  // of the field: `precisions`
  std::vector<const google::protobuf::Message*> rows;
};

// Those that have rows, in the order of the fields.
std::vector<ReportSection> SectionsOf(const v1::Report& report);

struct ReportColumn {
  std::vector<std::string> heading;  // its words: `MEDIAN`, `ms`
  std::vector<std::string> cells;    // one for each row
  bool right = false;                // flush right
  bool key = false;                  // it says which row this is
  bool prose = false;                // sentences
};

// The first `most` rows as people read them: units in the heading, with the prefix that fits the column, or all that
// are bytes; shares as percent, scales as powers of two, ends of an interval beside what they are the ends of. An
// absent value is `-`; columns that say nothing in any row are left out, but for the first.
std::vector<ReportColumn> ColumnsOf(const ReportSection& section, std::size_t most);

// `best loss scale` and `2^14`: what the result says of the whole, in the order of its fields.
std::vector<std::pair<std::string, std::string>> FactsOf(const google::protobuf::Message& result);

}  // namespace mantissa::cli
