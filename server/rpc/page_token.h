// Where a listing goes on, as text that clients keep and never read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace mantissa::server {

// `after` is the place of the last item sent. `query` holds whatever must be the same on every page, and nothing else.
std::string EncodePageToken(std::string_view after, const google::protobuf::Message& query);

// The place; empty for an empty token. INVALID_ARGUMENT for text that EncodePageToken did not make, or made for
// another query.
absl::StatusOr<std::string> DecodePageToken(std::string_view token, const google::protobuf::Message& query);

// What a page holds when its request says `page_size`: 0 is `by_default`, beyond `most` is `most`. INVALID_ARGUMENT for
// less than 0.
absl::StatusOr<int32_t> PageSize(int32_t page_size, int32_t by_default = 50, int32_t most = 1000);

// A replied page ends here, whatever page_size asks for.
inline constexpr size_t kMaxPageBytes = 2 << 20;

// What a listing request asks for: how many, and after which place.
struct PageRequest {
  int32_t size = 0;
  std::string after;
};

// Request has page_size and page_token; `query` gets the rest of it, what must be the same on every page.
template <typename Request>
absl::StatusOr<PageRequest> ParsePage(const Request& request, Request& query, int32_t by_default = 50,
                                      int32_t most = 1000) {
  query = request;
  query.clear_page_size();
  query.clear_page_token();
  const absl::StatusOr<int32_t> size = PageSize(request.page_size(), by_default, most);
  if (!size.ok()) return size.status();
  absl::StatusOr<std::string> after = DecodePageToken(request.page_token(), query);
  if (!after.ok()) return after.status();
  return PageRequest{*size, *std::move(after)};
}

// A page of a list that is short enough to be read whole: what stands after the item with the key of the token. `key`
// makes an item's unique key. An item that was deleted meanwhile sends its readers to the end.
template <typename Request, typename Item, typename Key, typename Field>
absl::Status TakePage(const Request& request, std::vector<Item>& items, Key key, Field& field,
                      std::string& next_token) {
  Request query;
  const absl::StatusOr<PageRequest> page = ParsePage(request, query);
  if (!page.ok()) return page.status();
  size_t at = 0;
  if (!page->after.empty()) {
    while (at < items.size() && key(items[at]) != page->after) ++at;
    ++at;
  }
  size_t bytes = 0;
  for (; at < items.size() && field.size() < page->size && (bytes < kMaxPageBytes || field.empty()); ++at) {
    bytes += items[at].ByteSizeLong();
    std::string place = key(items[at]);
    field.Add(std::move(items[at]));
    next_token = at + 1 < items.size() ? EncodePageToken(place, query) : std::string();
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
