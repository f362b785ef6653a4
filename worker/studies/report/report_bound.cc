#include "worker/studies/report/report_bound.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

namespace mantissa::trainer {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::size_t kForLimits = 2048;  // bytes that what is said of it takes
constexpr int kLeastRows = 2;

// The result of the report's kind; null without one.
Message* ResultOf(v1::Report& report) {
  const auto* result = v1::Report::descriptor()->FindOneofByName("result");
  const Reflection& reflection = *report.GetReflection();
  const FieldDescriptor* field = reflection.GetOneofFieldDescriptor(report, result);
  return field == nullptr ? nullptr : reflection.MutableMessage(&report, field);
}

// The table with the most bytes among those that can lose a row; null: none can.
const FieldDescriptor* LargestTable(const Message& result) {
  const FieldDescriptor* largest = nullptr;
  std::size_t most = 0;
  std::vector<const FieldDescriptor*> fields;
  result.GetReflection()->ListFields(result, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int rows = result.GetReflection()->FieldSize(result, field);
    if (rows <= kLeastRows) continue;
    std::size_t bytes = 0;
    for (int i = 0; i < rows; ++i) bytes += result.GetReflection()->GetRepeatedMessage(result, field, i).ByteSizeLong();
    if (bytes > most) {
      most = bytes;
      largest = field;
    }
  }
  return largest;
}

// Keeps the first row of every two.
void Halve(const FieldDescriptor& table, Message& result) {
  const Reflection& reflection = *result.GetReflection();
  const int rows = reflection.FieldSize(result, &table);
  for (int i = 1; 2 * i < rows; ++i) reflection.SwapElements(&result, &table, i, 2 * i);
  for (int left = rows; left > (rows + 1) / 2; --left) reflection.RemoveLast(&result, &table);
}

}  // namespace

void KeepWithin(std::size_t bytes, v1::Report& report) {
  if (report.ByteSizeLong() <= bytes) return;
  Message* const result = ResultOf(report);
  if (result == nullptr) return;
  std::map<const FieldDescriptor*, int> rows;  // there were, of the tables that lost some
  const std::size_t target = bytes > kForLimits ? bytes - kForLimits : 0;
  while (report.ByteSizeLong() > target) {
    const FieldDescriptor* const table = LargestTable(*result);
    if (table == nullptr) break;
    rows.try_emplace(table, result->GetReflection()->FieldSize(*result, table));
    Halve(*table, *result);
  }
  if (rows.empty()) return;
  std::vector<std::string> limits;
  for (const auto& [table, were] : rows) {
    limits.push_back(absl::StrCat("A report has a bound: of ", were, " rows of ", table->name(), ", ",
                                  result->GetReflection()->FieldSize(*result, table), " were kept, evenly spaced."));
  }
  std::sort(limits.begin(), limits.end());  // a map of pointers has no order of its own
  for (const std::string& limit : limits) report.add_limits(limit);
  report.set_partial(true);
}

}  // namespace mantissa::trainer
