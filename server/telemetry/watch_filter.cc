#include "server/telemetry/watch_filter.h"

#include <algorithm>
#include <functional>

namespace mantissa::server {

bool PassesEverything(const v1::WatchFilter& filter) { return !filter.events_only() && filter.columns().empty(); }

bool ApplyFilter(const v1::WatchFilter& filter, v1::Segment& segment) {
  if (segment.body_case() != v1::Segment::kRecords) return true;
  if (filter.events_only()) return false;
  if (filter.columns().empty()) return true;
  auto& columns = *segment.mutable_records()->mutable_columns();
  const auto wanted = [&filter](const v1::Column& column) {
    return column.id_case() == v1::Column::kStandard &&
           std::find(filter.columns().begin(), filter.columns().end(), column.standard()) != filter.columns().end();
  };
  columns.erase(std::remove_if(columns.begin(), columns.end(), std::not_fn(wanted)), columns.end());
  return !columns.empty();
}

}  // namespace mantissa::server
