#include "client/cli/spec/document.h"

#include <map>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "client/cli/output/display_text.h"

namespace mantissa::cli {
namespace {

// Ends the parse from inside a callback of yaml-cpp, which knows no other way.
struct Refused {
  int line;
  std::string message;
};

int Line(const YAML::Mark& mark) { return mark.line + 1; }

// Builds the tree from the parser's events. Not thread-safe.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::vector<SpecProblem>& problems) : problems_(problems) {}

  DocumentNodePtr root() const { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = std::make_shared<DocumentNode>();
    node->line = Line(mark);
    Place(std::move(node), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto node = std::make_shared<DocumentNode>();
    node->kind = DocumentNode::Kind::kScalar;
    node->line = Line(mark);
    node->text = value;
    node->quoted = tag == "!";  // yaml-cpp's word for quoted and block scalars; `?` is plain
    if (!node->quoted && tag != "?" && !tag.empty()) {
      throw Refused{node->line, absl::StrCat("has the tag ", tag, "; tags are not supported: leave it out")};
    }
    Place(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{Line(mark), "an alias inside the node it names; write the value out"};
    Attach(found->second, Line(mark));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, DocumentNode::Kind::kList, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, DocumentNode::Kind::kMap, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Level {
    std::shared_ptr<DocumentNode> node;
    YAML::anchor_t anchor;
    std::optional<DocumentEntry> key;  // of a map: read, and its value not yet
  };

  void Open(const YAML::Mark& mark, DocumentNode::Kind kind, YAML::anchor_t anchor) {
    if (static_cast<int>(levels_.size()) >= kMaxDocumentDepth) {
      throw Refused{Line(mark), absl::StrCat("nested deeper than ", kMaxDocumentDepth, " levels; no field is")};
    }
    auto node = std::make_shared<DocumentNode>();
    node->kind = kind;
    node->line = Line(mark);
    if (!levels_.empty() && IsMap() && !levels_.back().key) {
      throw Refused{node->line, "a list or a map stands where a name should; is a bracket or a quote left open?"};
    }
    levels_.push_back({std::move(node), anchor, std::nullopt});
  }

  void Close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    Place(std::move(level.node), level.anchor);
  }

  void Place(std::shared_ptr<DocumentNode> node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    const int line = node->line;
    Attach(std::move(node), line);
  }

  bool IsMap() const { return levels_.back().node->kind == DocumentNode::Kind::kMap; }

  void Attach(DocumentNodePtr node, int line) {
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (IsMap() && !level.key) {
      TakeKey(level, *node, line);
      return;
    }
    level.node->size += node->size;
    if (level.node->size > kMaxDocumentNodes) {
      throw Refused{line, absl::StrCat("more than ", kMaxDocumentNodes,
                                       " values when aliases are followed; write a smaller spec without aliases")};
    }
    if (!IsMap()) {
      level.node->items.push_back(std::move(node));
      return;
    }
    DocumentEntry entry = std::move(*level.key);
    level.key.reset();
    entry.value = std::move(node);
    for (const DocumentEntry& earlier : level.node->entries) {
      if (earlier.key != entry.key) continue;
      problems_.push_back({entry.line, "",
                           absl::StrCat("the key \"", ForTerminal(entry.key), "\" is given twice, first on line ",
                                        earlier.line, "; keep one of them")});
      return;
    }
    level.node->entries.push_back(std::move(entry));
  }

  void TakeKey(Level& level, const DocumentNode& node, int line) {
    if (node.kind == DocumentNode::Kind::kList || node.kind == DocumentNode::Kind::kMap) {
      throw Refused{line, "a list or a map stands where a name should; is a bracket or a quote left open?"};
    }
    if (!node.quoted && node.text == "<<") {
      throw Refused{line, "merge keys (<<) are not supported; write the fields out"};
    }
    level.key = DocumentEntry{node.text, line, nullptr};
  }

  std::vector<SpecProblem>& problems_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, DocumentNodePtr> anchors_;
  DocumentNodePtr root_;
};

// JSON may indent with tabs, which YAML forbids; as white space outside strings the two mean the same.
std::string TabsToSpaces(std::string_view text) {
  std::string result(text);
  bool in_string = false;
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (in_string && result[i] == '\\') {
      ++i;
    } else if (result[i] == '"') {
      in_string = !in_string;
    } else if (!in_string && result[i] == '\t') {
      result[i] = ' ';
    }
  }
  return result;
}

std::optional<SpecProblem> RefusedAsText(std::string_view text) {
  if (text.size() > kMaxDocumentBytes) {
    return SpecProblem{0, "", "larger than 1 MiB; a spec names data files, it does not hold them"};
  }
  const std::size_t bad = FirstNonUtf8(text);
  if (bad != std::string_view::npos) {
    int line = 1;
    for (const char c : text.substr(0, bad)) line += c == '\n';
    return SpecProblem{line, "", "not UTF-8 text; save the file as UTF-8"};
  }
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    int line = 1;
    for (const char c : text.substr(0, nul)) line += c == '\n';
    return SpecProblem{line, "", "a NUL byte; this is not a text file"};
  }
  return std::nullopt;
}

}  // namespace

Document ParseDocument(std::string_view text) {
  Document document;
  if (std::optional<SpecProblem> problem = RefusedAsText(text)) {
    document.problems.push_back(std::move(*problem));
    return document;
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string_view::npos && text[first] == '{';
  std::string whole = json ? TabsToSpaces(text) : std::string(text);
  // yaml-cpp 0.7 takes the end of the text for a closing quote; a document's end inside quotes it refuses.
  whole += whole.empty() || whole.back() == '\n' ? "...\n" : "\n...\n";
  std::istringstream stream(whole);
  TreeBuilder builder(document.problems);
  try {
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      document.root = builder.root();
      // Reads the next document only to see whether there is one.
      std::vector<SpecProblem> ignored;
      TreeBuilder second(ignored);
      if (parser.HandleNextDocument(second)) {
        document.problems.push_back({second.root() ? second.root()->line : 0, "",
                                     "a second document begins (---); put each job into a file of its own and submit "
                                     "the files one by one"});
        document.root = nullptr;
        return document;
      }
    }
  } catch (const Refused& refused) {
    document.problems.push_back({refused.line, "", refused.message});
    document.root = nullptr;
    return document;
  } catch (const YAML::Exception& error) {
    document.problems.push_back(
        {error.mark.is_null() ? 0 : Line(error.mark), "",
         absl::StrCat("not YAML: ", error.msg,
                      error.mark.is_null() ? std::string() : absl::StrCat(" (column ", error.mark.column + 1, ")"))});
    document.root = nullptr;
    return document;
  }
  if (!document.root || document.root->kind == DocumentNode::Kind::kNull) {
    document.problems.push_back({0, "", "empty; a spec needs at least training.model and training.data"});
    document.root = nullptr;
  }
  return document;
}

}  // namespace mantissa::cli
