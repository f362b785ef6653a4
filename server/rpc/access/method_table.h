// Which method is for whom: the one place that says so.
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace mantissa::server {

// Bits, so that a row has any set of them.
enum Who : unsigned {
  kNobody = 0,
  kReader = 1u << 0,
  kUser = 1u << 1,
  kAdmin = 1u << 2,
  kWorker = 1u << 3,
  kAnonymous = 1u << 4,  // who shows nothing
};

struct MethodRow {
  // As calls are counted: Service/Method of mantissa.v1, with its package of any other.
  std::string_view method;
  unsigned who;
};

// Sorted by method. A method without a row is for nobody.
absl::Span<const MethodRow> MethodTable();

// kNobody for one that has no row.
unsigned WhoMayCall(std::string_view method);

// `/mantissa.v1.JobService/GetJob` as the table has it: JobService/GetJob.
std::string_view MethodOfPath(std::string_view path);

// "reader, user or admin", for people.
std::string WhoText(unsigned who);

}  // namespace mantissa::server
