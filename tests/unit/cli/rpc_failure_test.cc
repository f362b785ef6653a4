// What a server's error becomes in the terminal.
#include "client/cli/rpc_failure.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/cli/fake_service.h"

namespace mantissa::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string TextOf(const grpc::Status& status, FailureContext context = {.address = "a:1", .connected = true}) {
  return std::string(Explain(DecodeFailure(status), context).message());
}

TEST(RpcFailureTest, AViolationThatTheMessageTellsIsToldOnce) {
  EXPECT_EQ(TextOf(ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "page_size: is -1; 1 to 1000 is allowed",
                             "INVALID_FIELD", {{"page_size", "is -1; 1 to 1000 is allowed"}})),
            "page_size: is -1; 1 to 1000 is allowed [INVALID_FIELD]");
  EXPECT_EQ(TextOf(ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "not a number", "INVALID_FIELD",
                             {{"page_size", "not a number"}})),
            "not a number [INVALID_FIELD]\n  page_size: not a number")
      << "the field is news";
}

TEST(RpcFailureTest, SeveralViolationsHaveALineEach) {
  EXPECT_EQ(TextOf(ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "2 faults", "INVALID_SPEC",
                             {{"a", "is missing"}, {"b", "is missing"}})),
            "2 faults [INVALID_SPEC]\n  a: is missing\n  b: is missing");
}

TEST(RpcFailureTest, AViolationIsShownWhereItStandsInTheFile) {
  const SpecFile spec = ReadSpecText("training:\n  batch_size: 0\n", {.file = "job.yaml", .overrides = {}, .name = ""});
  const grpc::Status status =
      ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "training.batch_size: is 0; 1 to 1048576 is allowed",
                "INVALID_SPEC", {{"training.batch_size", "is 0; 1 to 1048576 is allowed"}});
  EXPECT_THAT(TextOf(status, {.address = "a:1", .connected = true, .spec = &spec}),
              HasSubstr("\n  job.yaml:2: training.batch_size: is 0; "));
}

TEST(RpcFailureTest, WhatIsNoServerOfOursIsUnavailableAndToldApart) {
  const RpcFailure http = DecodeFailure({grpc::StatusCode::UNAVAILABLE, "Trying to connect an http1.x server"});
  EXPECT_TRUE(IsWrongServer(http));
  EXPECT_FALSE(IsTransient(http)) << "it will be there the next time, too";
  EXPECT_THAT(TextOf({grpc::StatusCode::UNAVAILABLE, "Connection refused"}), HasSubstr("no server answers at a:1"));
  EXPECT_TRUE(IsTransient(DecodeFailure({grpc::StatusCode::UNAVAILABLE, "Connection refused"})));
  EXPECT_TRUE(IsWrongServer(DecodeFailure({grpc::StatusCode::UNIMPLEMENTED, "no such method"})));
  EXPECT_FALSE(IsWrongServer(DecodeFailure(ErrorWith(grpc::StatusCode::UNIMPLEMENTED, "not here", "NO_STUDIES", {}))));
  const absl::Status hangs =
      Explain(DecodeFailure({grpc::StatusCode::DEADLINE_EXCEEDED, ""}), {.address = "a:1", .connected = false});
  EXPECT_EQ(hangs.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(
      Explain(DecodeFailure({grpc::StatusCode::DEADLINE_EXCEEDED, ""}), {.address = "a:1", .connected = true}).code(),
      absl::StatusCode::kDeadlineExceeded);
}

TEST(RpcFailureTest, WhatAServerSaysCannotDriveTheTerminal) {
  EXPECT_THAT(TextOf(ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "a\x1b[2J", "X\x1b]", {{"f\x1b[", "d\x1b["}})),
              Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace mantissa::cli
