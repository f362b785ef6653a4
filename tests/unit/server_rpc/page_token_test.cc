#include "server/rpc/page_token.h"

#include "gtest/gtest.h"

#include "mantissa/v1/job_service.pb.h"

namespace mantissa::server {
namespace {

v1::ListJobsRequest Query(const std::string& name) {
  v1::ListJobsRequest query;
  query.mutable_filter()->set_name(name);
  (*query.mutable_filter()->mutable_labels())["team"] = "a";
  (*query.mutable_filter()->mutable_labels())["owner"] = "b";
  return query;
}

TEST(PageTokenTest, LeadsBackToItsPlace) {
  const auto place = DecodePageToken(EncodePageToken("01jd", Query("x")), Query("x"));
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(*place, "01jd");
}

TEST(PageTokenTest, AnEmptyOneIsTheStart) { EXPECT_EQ(*DecodePageToken("", Query("x")), ""); }

TEST(PageTokenTest, OfAnotherQueryIsRefused) {
  const std::string token = EncodePageToken("01jd", Query("x"));
  EXPECT_EQ(DecodePageToken(token, Query("y")).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PageTokenTest, ChangedInAnyByteIsRefused) {
  const std::string token = EncodePageToken("a.b/c", Query("x"));
  ASSERT_TRUE(DecodePageToken(token, Query("x")).ok());
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(DecodePageToken(changed, Query("x")).ok()) << i;
    EXPECT_FALSE(DecodePageToken(token.substr(0, i), Query("x")).ok() && i > 0) << i;
  }
}

TEST(PageTokenTest, PageSizesAreBounded) {
  EXPECT_EQ(*PageSize(0), 50);
  EXPECT_EQ(*PageSize(1), 1);
  EXPECT_EQ(*PageSize(1'000'000), 1000);
  EXPECT_FALSE(PageSize(-1).ok());
}

TEST(PageTokenTest, PagesOfAListHoldEachItemOnce) {
  for (int32_t size = 1; size <= 8; ++size) {
    std::vector<std::string> seen;
    v1::ListCheckpointsRequest request;
    request.set_page_size(size);
    do {
      std::vector<v1::Checkpoint> all(7);
      for (size_t i = 0; i < all.size(); ++i) all[i].set_name("attempt-0001/step-" + std::to_string(i));
      v1::ListCheckpointsResponse response;
      ASSERT_TRUE(TakePage(
                      request, all, [](const v1::Checkpoint& checkpoint) { return checkpoint.name(); },
                      *response.mutable_checkpoints(), *response.mutable_next_page_token())
                      .ok());
      ASSERT_LE(response.checkpoints_size(), size);
      ASSERT_FALSE(response.checkpoints().empty());
      for (const v1::Checkpoint& checkpoint : response.checkpoints()) seen.push_back(checkpoint.name());
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    ASSERT_EQ(seen.size(), 7u);
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], "attempt-0001/step-" + std::to_string(i));
  }
}

}  // namespace
}  // namespace mantissa::server
