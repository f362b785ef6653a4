#include "client/cli/explain/proto_comments.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "client/cli/explain/described_protos.h"

namespace mantissa::cli {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::SourceCodeInfo;

// Where something stands in its file, as SourceCodeInfo counts: numbers of fields of the descriptor, and places in
// them.
using Path = std::vector<int>;

Path Then(Path path, int field, int index) {
  path.push_back(field);
  path.push_back(index);
  return path;
}

// The names of all that can have a comment, by where it stands.
class Names {
 public:
  explicit Names(const FileDescriptorProto& file) {
    for (int i = 0; i < file.message_type_size(); ++i) {
      AddMessage(file.message_type(i), file.package(), {FileDescriptorProto::kMessageTypeFieldNumber, i});
    }
  }

  const std::string* Find(const Path& path) const {
    const auto found = names_.find(path);
    return found == names_.end() ? nullptr : &found->second;
  }

 private:
  void AddMessage(const DescriptorProto& message, const std::string& scope, const Path& path) {
    const std::string name = absl::StrCat(scope, ".", message.name());
    names_[path] = name;
    for (int i = 0; i < message.field_size(); ++i) {
      names_[Then(path, DescriptorProto::kFieldFieldNumber, i)] = absl::StrCat(name, ".", message.field(i).name());
    }
    for (int i = 0; i < message.nested_type_size(); ++i) {
      AddMessage(message.nested_type(i), name, Then(path, DescriptorProto::kNestedTypeFieldNumber, i));
    }
    for (int i = 0; i < message.enum_type_size(); ++i) {
      AddEnum(message.enum_type(i), name, Then(path, DescriptorProto::kEnumTypeFieldNumber, i));
    }
    for (int i = 0; i < message.oneof_decl_size(); ++i) {
      names_[Then(path, DescriptorProto::kOneofDeclFieldNumber, i)] =
          absl::StrCat(name, ".", message.oneof_decl(i).name());
    }
  }

  // Values stand beside their enum, not in it.
  void AddEnum(const EnumDescriptorProto& type, const std::string& scope, const Path& path) {
    names_[path] = absl::StrCat(scope, ".", type.name());
    for (int i = 0; i < type.value_size(); ++i) {
      names_[Then(path, EnumDescriptorProto::kValueFieldNumber, i)] = absl::StrCat(scope, ".", type.value(i).name());
    }
  }

  std::map<Path, std::string> names_;
};

bool EndsSentence(const std::string& text) {
  return !text.empty() && (text.back() == '.' || text.back() == '?' || text.back() == ':');
}

// `How to read it:`: up to four words, the first with a capital, then a colon.
bool IsHeading(const std::string& line) {
  const std::size_t colon = line.find(": ");
  if (colon == std::string::npos || !absl::ascii_isupper(static_cast<unsigned char>(line[0]))) return false;
  const std::string head = line.substr(0, colon);
  const bool words =
      std::all_of(head.begin() + 1, head.end(), [](unsigned char c) { return absl::ascii_islower(c) || c == ' '; });
  return words && std::count(head.begin(), head.end(), ' ') < 4;
}

}  // namespace

Comment ParagraphsOf(std::string_view comment) {
  Comment paragraphs;
  bool open = false;
  for (absl::string_view raw : absl::StrSplit(absl::string_view(comment.data(), comment.size()), '\n')) {
    const std::string line(absl::StripAsciiWhitespace(raw));
    if (line.empty()) {
      open = false;
      continue;
    }
    if (open && IsHeading(line) && EndsSentence(paragraphs.back())) open = false;
    if (open) {
      absl::StrAppend(&paragraphs.back(), " ", line);
    } else {
      paragraphs.push_back(line);
    }
    open = true;
  }
  return paragraphs;
}

std::string FirstSentence(const Comment& comment) {
  if (comment.empty()) return "";
  const std::string& text = comment.front();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool end = text[i] == '.' || text[i] == '?';
    if (end && (i + 1 == text.size() || text[i + 1] == ' ')) return text.substr(0, i + 1);
  }
  return text;
}

ProtoComments::ProtoComments(const FileDescriptorSet& files) {
  for (const FileDescriptorProto& file : files.file()) {
    const Names names(file);
    for (const SourceCodeInfo::Location& location : file.source_code_info().location()) {
      if (!location.has_leading_comments()) continue;
      const std::string* name = names.Find(Path(location.path().begin(), location.path().end()));
      if (name != nullptr) comments_[*name] = ParagraphsOf(location.leading_comments());
    }
  }
}

const ProtoComments& ProtoComments::Ours() {
  static const auto& ours = *[] {
    FileDescriptorSet files;
    files.ParseFromArray(kDescribedProtos, static_cast<int>(kDescribedProtosSize));
    return new ProtoComments(files);
  }();
  return ours;
}

const Comment& ProtoComments::Of(const std::string& full_name) const {
  static const auto& nothing = *new Comment;
  const auto found = comments_.find(full_name);
  return found == comments_.end() ? nothing : found->second;
}

}  // namespace mantissa::cli
