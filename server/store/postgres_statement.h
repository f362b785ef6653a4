#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mantissa::server {

// The text of a statement and the values of its $1, $2, ..., which it owns. Not thread-safe.
class PostgresStatement {
 public:
  explicit PostgresStatement(std::string_view sql) : sql_(sql) {}

  PostgresStatement& Bind(int64_t value);
  PostgresStatement& Bind(std::string_view text);
  PostgresStatement& BindBlob(std::string bytes);
  PostgresStatement& Bind(const std::vector<int64_t>& values);
  PostgresStatement& Bind(const std::vector<std::string>& texts);
  // For a text that is made along with its values.
  PostgresStatement& SetText(std::string sql);
  // Whose row it is, for messages.
  PostgresStatement& About(std::string subject);

  const std::string& sql() const { return sql_; }
  const std::string& subject() const { return subject_; }

 private:
  friend class PostgresConnection;
  struct Value {
    unsigned type;
    int format;  // 0: text, ended by a NUL; 1: binary
    std::string bytes;
  };

  std::string sql_;
  std::string subject_;
  std::vector<Value> values_;
};

}  // namespace mantissa::server
