#include "proto/spec/unknown_fields.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

namespace mantissa::spec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::UnknownFieldSet;

constexpr std::size_t kNamed = 8;

void CheckThis(const UnknownFieldSet& unknown, Checker& checker) {
  if (unknown.empty()) return;
  std::set<int> numbers;
  for (int i = 0; i < unknown.field_count() && numbers.size() < kNamed; ++i) numbers.insert(unknown.field(i).number());
  checker.Add("", ViolationReason::kUnknownValue,
              absl::StrCat("has a field that this server does not know (number ", absl::StrJoin(numbers, ", "),
                           "); upgrade the server, or leave the field out"));
}

}  // namespace

void CheckUnknownFields(const Message& message, Checker checker) {
  const Reflection& reflection = *message.GetReflection();
  CheckThis(reflection.GetUnknownFields(message), checker);
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) {
      CheckUnknownFields(reflection.GetMessage(message, field), checker.Beneath(field->name()));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      CheckUnknownFields(reflection.GetRepeatedMessage(message, field, i), checker.Beneath(Indexed(field->name(), i)));
    }
  }
}

}  // namespace mantissa::spec
