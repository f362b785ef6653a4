// A report as people read it.
#pragma once

#include <string>

#include "mantissa/v1/report.pb.h"

namespace mantissa::cli {

struct ReportView {
  int width = 80;
  std::string job;      // what it is called, and
  std::string command;  // how the whole of a table is seen, but for its name: `mantissa report JOB --section`
  std::string section;  // this table alone, whole; empty: all of them, long ones cut
};

// What was found, the tables, and what the run could not tell. The section is one that the report has. Pure.
std::string ReportText(const v1::Report& report, const ReportView& view);

}  // namespace mantissa::cli
