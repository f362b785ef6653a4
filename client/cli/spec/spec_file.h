// A job spec from a file, stdin, and what --set and --name replace in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "client/cli/spec/document.h"
#include "client/cli/spec/spec_reader.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

struct SpecSource {
  std::string file;  // `-`: stdin
  std::vector<std::string> overrides;
  std::string name;  // replaces spec.name when not empty
};

// A spec is good when there are no problems.
struct SpecFile {
  std::string shown_name;  // how messages call it: the path, or `stdin`
  v1::JobSpec spec;
  std::vector<SpecProblem> problems;
  FieldLines lines;
};

SpecFile ReadSpecText(std::string_view text, const SpecSource& source);

// Reads at most a little more than kMaxDocumentBytes. A file that can't be read is a problem like any other.
SpecFile ReadSpecFile(const SpecSource& source);

// `digits.yaml:7: training.bach_size: unknown key "bach_size"; did you mean batch_size?`
std::string FormatProblem(const std::string& shown_name, const SpecProblem& problem);

// Line of the field, or of the nearest message above it that was given; 0 when none was.
int LineOf(const FieldLines& lines, std::string_view path);

}  // namespace mantissa::cli
