// A YAML or JSON text as a tree in which every node knows its line.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mantissa::cli {

// What is wrong with a spec, and where.
struct SpecProblem {
  int line = 0;      // from 1; 0: of no line
  std::string path;  // `training.batch_size`; empty: of the whole
  std::string message;
};

struct DocumentNode;
using DocumentNodePtr = std::shared_ptr<const DocumentNode>;

struct DocumentEntry {
  std::string key;
  int line = 0;
  DocumentNodePtr value;
};

struct DocumentNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  int line = 0;
  std::string text;     // scalar
  bool quoted = false;  // scalar: written in quotes, so not a number, bool or null
  std::vector<DocumentNodePtr> items;
  std::vector<DocumentEntry> entries;  // in the order of the text; keys are unique
  std::size_t size = 1;                // nodes of this tree, aliases followed
};

struct Document {
  DocumentNodePtr root;  // null when the text can't be parsed
  std::vector<SpecProblem> problems;
};

inline constexpr std::size_t kMaxDocumentBytes = std::size_t{1} << 20;
// Aliases can make a short text huge; no honest spec comes near.
inline constexpr std::size_t kMaxDocumentNodes = 100'000;
inline constexpr int kMaxDocumentDepth = 64;

// Refused, each with its line and a remedy: an empty text, several documents, text that is not UTF-8, a key given
// twice, a key that is no scalar, nesting beyond kMaxDocumentDepth, more than kMaxDocumentBytes or kMaxDocumentNodes.
Document ParseDocument(std::string_view text);

}  // namespace mantissa::cli
