// What the .proto files say of messages, fields and values.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.pb.h"

namespace mantissa::cli {

// Paragraphs of a comment, each on one line.
using Comment = std::vector<std::string>;

// Immutable once made.
class ProtoComments {
 public:
  explicit ProtoComments(const google::protobuf::FileDescriptorSet& files);

  // Of the files that this program was built from.
  static const ProtoComments& Ours();

  // By the full name of a message, field, enum or value, as its descriptor has it; empty where nothing was said.
  const Comment& Of(const std::string& full_name) const;

 private:
  std::map<std::string, Comment> comments_;
};

// Lines as they stand after `//`: an empty one parts two paragraphs, and so does a heading such as `How to read it:` at
// the beginning of a line, after the end of a sentence.
Comment ParagraphsOf(std::string_view comment);

// Up to the first end of a sentence.
std::string FirstSentence(const Comment& comment);

}  // namespace mantissa::cli
