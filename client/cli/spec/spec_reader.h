// A document read into a protobuf message by reflection.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message.h"

#include "client/cli/spec/document.h"

namespace mantissa::cli {

// Field path -> the line it was given on.
using FieldLines = std::map<std::string, int, std::less<>>;

// Reads all that can be read and collects every problem on the way; a field with a problem is left unset. Only the form
// is checked here: types, names, ranges of the types. What values make sense is validation's affair.
//
// A null leaves a scalar or a list unset; after the name of a message (`gpt:`) it means that message with its defaults.
// Not thread-safe.
class SpecReader {
 public:
  // `root` is the type whose fields are offered when a key stands in the wrong place.
  SpecReader(const google::protobuf::Descriptor& root, std::vector<SpecProblem>& problems, FieldLines& lines)
      : root_(root), problems_(problems), lines_(lines) {}

  void ReadMessage(const DocumentNode& node, const std::string& path, google::protobuf::Message& message);

  // One field, replacing what it held.
  void ReadField(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                 const google::protobuf::FieldDescriptor& field);

  // Why `key` is no field of `message`, and what to write instead.
  std::string UnknownKey(const google::protobuf::Descriptor& message, std::string_view key) const;

 private:
  void ReadMap(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
               const google::protobuf::FieldDescriptor& field);
  void ReadList(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                const google::protobuf::FieldDescriptor& field);
  // Sets a singular field, or appends to a list.
  void ReadScalar(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                  const google::protobuf::FieldDescriptor& field);
  void ReadInteger(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                   const google::protobuf::FieldDescriptor& field);
  void ReadDuration(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                    const google::protobuf::FieldDescriptor& field);
  void ReadEnum(const DocumentNode& node, const std::string& path, google::protobuf::Message& message,
                const google::protobuf::FieldDescriptor& field);

  void Expected(const DocumentNode& node, const std::string& path, const google::protobuf::FieldDescriptor& field,
                std::string_view because = "");
  void Problem(int line, const std::string& path, std::string message);

  const google::protobuf::Descriptor& root_;
  std::vector<SpecProblem>& problems_;
  FieldLines& lines_;
};

}  // namespace mantissa::cli
