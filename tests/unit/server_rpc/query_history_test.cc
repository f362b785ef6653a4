// A job's records, page by page.
#include <utility>
#include <vector>

#include "gmock/gmock.h"

#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class QueryHistoryTest : public ServerTest {
 protected:
  static constexpr int kRows = 200;

  QueryHistoryTest() {
    StartServer();
    job_ = Submit().id();
    FakeWorker worker(*workers);
    worker.TakeAttempt();
    worker.Run();
    for (int first = 1; first <= kRows; first += 10) worker.Publish({worker.Records(first, 10)});
    worker.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, kRows);
  }

  v1::QueryHistoryRequest Request() const {
    v1::QueryHistoryRequest request;
    request.set_job_id(job_);
    return request;
  }
  grpc::Status Ask(const v1::QueryHistoryRequest& request, v1::QueryHistoryResponse& response) {
    grpc::ClientContext context;
    return jobs->QueryHistory(&context, request, &response);
  }
  // All pages' segments, and how many pages they came on.
  std::pair<std::vector<v1::Segment>, int> All(v1::QueryHistoryRequest request) {
    std::vector<v1::Segment> segments;
    for (int pages = 1;; ++pages) {
      v1::QueryHistoryResponse response;
      const grpc::Status status = Ask(request, response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      segments.insert(segments.end(), response.segments().begin(), response.segments().end());
      if (!status.ok() || response.next_page_token().empty()) return {segments, pages};
      request.set_page_token(response.next_page_token());
    }
  }
  static std::vector<double> Iterations(const std::vector<v1::Segment>& segments) {
    std::vector<double> iterations;
    for (const v1::Segment& segment : segments) {
      EXPECT_TRUE(segment.has_records()) << "events have a listing of their own";
      for (const v1::Column& column : segment.records().columns()) {
        if (column.standard() != v1::Column::ITERATION) continue;
        iterations.insert(iterations.end(), column.integers().values().begin(), column.integers().values().end());
      }
    }
    return iterations;
  }
  static std::vector<double> Count(int from, int to) {
    std::vector<double> numbers;
    for (int number = from; number <= to; ++number) numbers.push_back(number);
    return numbers;
  }

  std::string job_;
};

TEST_F(QueryHistoryTest, HasEveryRecordOnceHoweverThePagesAreCut) {
  for (const int size : {1, 7, 10, 64, 0}) {
    v1::QueryHistoryRequest request = Request();
    request.set_page_size(size);
    const auto [segments, pages] = All(request);
    EXPECT_EQ(Iterations(segments), Count(1, kRows)) << size;
    EXPECT_GE(pages, size == 0 ? 1 : kRows / size) << size;
  }
}

TEST_F(QueryHistoryTest, KeepsToItsRangeWhereverItFalls) {
  // The first records' sequences, which events have pushed on.
  const int64_t first = All(Request()).first.front().first_sequence();
  for (const int from : {1, 4, 11}) {
    for (const int to : {11, 17, 20}) {
      v1::QueryHistoryRequest request = Request();
      request.mutable_range()->set_from(first + from - 1);
      request.mutable_range()->set_to(first + to - 1);
      EXPECT_EQ(Iterations(All(request).first), Count(from, to)) << from << " " << to;
    }
  }
  v1::QueryHistoryRequest beyond = Request();
  beyond.mutable_range()->set_from(100'000);
  EXPECT_TRUE(All(beyond).first.empty());
}

TEST_F(QueryHistoryTest, HasTheColumnsThatWereAskedFor) {
  v1::QueryHistoryRequest request = Request();
  request.add_columns(v1::Column::ITERATION);
  for (const v1::Segment& segment : All(request).first) {
    ASSERT_EQ(segment.records().columns_size(), 1);
    EXPECT_EQ(segment.records().columns(0).standard(), v1::Column::ITERATION);
  }
}

TEST_F(QueryHistoryTest, IsThinnedAlikeHoweverThePagesAreCut) {
  v1::QueryHistoryRequest request = Request();
  request.set_max_points(20);
  const auto whole = Iterations(All(request).first);
  std::vector<double> every_tenth;
  for (int iteration = 10; iteration <= kRows; iteration += 10) every_tenth.push_back(iteration);
  EXPECT_EQ(whole, every_tenth) << "a row is the last of its records";
  for (const int size : {1, 3, 7}) {
    request.set_page_size(size);
    const auto [segments, pages] = All(request);
    EXPECT_EQ(Iterations(segments), whole) << size;
    EXPECT_GE(pages, 20 / size);
    int64_t records = 0;
    for (const v1::Segment& segment : segments) {
      EXPECT_LE(segment.count(), size);
      for (const v1::Column& column : segment.records().columns()) {
        if (column.standard() != v1::Column::RECORDS) continue;
        for (const int64_t count : column.integers().values()) records += count;
      }
    }
    EXPECT_EQ(records, kRows);
  }
}

TEST_F(QueryHistoryTest, IsThinnedOnlyWhereThereIsMoreThanWasAskedFor) {
  v1::QueryHistoryRequest request = Request();
  request.set_max_points(kRows);
  EXPECT_EQ(Iterations(All(request).first), Count(1, kRows));
  request.set_max_points(kRows - 1);
  EXPECT_EQ(All(request).first.front().records().columns(0).integers().values(0), 2);
  request.set_max_points(1);
  EXPECT_EQ(Iterations(All(request).first), std::vector<double>({kRows}));
  // Of a range.
  request.set_max_points(2);
  const int64_t first = All(Request()).first.front().first_sequence();
  request.mutable_range()->set_from(first);
  request.mutable_range()->set_to(first + 7);
  EXPECT_EQ(Iterations(All(request).first), std::vector<double>({4, 8}));
}

TEST_F(QueryHistoryTest, SurvivesARestart) {
  Restart();
  EXPECT_EQ(Iterations(All(Request()).first), Count(1, kRows));
}

TEST_F(QueryHistoryTest, RefusesByField) {
  const auto refusal = [&](auto change) {
    v1::QueryHistoryRequest request = Request();
    change(request);
    v1::QueryHistoryResponse response;
    const grpc::Status status = Ask(request, response);
    EXPECT_FALSE(status.ok());
    return status.error_message();
  };
  EXPECT_THAT(refusal([](auto& request) { request.set_max_points(-1); }), HasSubstr("max_points: is -1; ask for 1"));
  EXPECT_THAT(refusal([](auto& request) { request.set_max_points(65'537); }), HasSubstr("max_points"));
  EXPECT_THAT(refusal([](auto& request) { request.set_page_size(-1); }), HasSubstr("page_size"));
  EXPECT_THAT(refusal([](auto& request) { request.mutable_range()->set_from(-1); }), HasSubstr("range"));
  EXPECT_THAT(refusal([](auto& request) {
                request.mutable_range()->set_from(5);
                request.mutable_range()->set_to(4);
              }),
              HasSubstr("range: is 5 to 4"));
  EXPECT_THAT(refusal([](auto& request) { request.add_columns(static_cast<v1::Column::Standard>(99)); }),
              HasSubstr("columns[0]"));
  EXPECT_THAT(refusal([](auto& request) { request.set_job_id("no"); }), HasSubstr("job_id"));
  EXPECT_THAT(refusal([](auto& request) { request.set_page_token("nonsense"); }), HasSubstr("page_token"));
  EXPECT_THAT(refusal([](auto& request) { request.set_job_id("01jzzzzzzzzzzzzzzzzzzzzzzz"); }), HasSubstr("01jzzz"));
}

}  // namespace
}  // namespace mantissa::server
