#include "server/store/postgres_statement.h"

#include <endian.h>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mantissa::server {
namespace {

// Of pg_type.dat; PostgreSQL never changes them.
constexpr unsigned kBytea = 17;
constexpr unsigned kInt8 = 20;
constexpr unsigned kText = 25;
constexpr unsigned kInt8Array = 1016;
constexpr unsigned kTextArray = 1009;

}  // namespace

PostgresStatement& PostgresStatement::Bind(int64_t value) {
  const uint64_t wire = htobe64(static_cast<uint64_t>(value));
  values_.push_back({kInt8, 1, std::string(reinterpret_cast<const char*>(&wire), sizeof wire)});
  return *this;
}

// Binary, so that a NUL is refused instead of ending the text.
PostgresStatement& PostgresStatement::Bind(std::string_view text) {
  values_.push_back({kText, 1, std::string(text)});
  return *this;
}

PostgresStatement& PostgresStatement::BindBlob(std::string bytes) {
  values_.push_back({kBytea, 1, std::move(bytes)});
  return *this;
}

PostgresStatement& PostgresStatement::Bind(const std::vector<int64_t>& values) {
  std::string text = "{";
  for (int64_t value : values) absl::StrAppend(&text, text.size() > 1 ? "," : "", value);
  values_.push_back({kInt8Array, 0, text + "}"});
  return *this;
}

PostgresStatement& PostgresStatement::Bind(const std::vector<std::string>& texts) {
  std::string text = "{";
  for (const std::string& element : texts) {
    text += text.size() > 1 ? ",\"" : "\"";
    for (char c : element) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  values_.push_back({kTextArray, 0, text + "}"});
  return *this;
}

PostgresStatement& PostgresStatement::SetText(std::string sql) {
  sql_ = std::move(sql);
  return *this;
}

PostgresStatement& PostgresStatement::About(std::string subject) {
  subject_ = std::move(subject);
  return *this;
}

}  // namespace mantissa::server
