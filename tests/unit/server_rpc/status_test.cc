#include "server/rpc/status.h"

#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

#include "server/core/errors.h"
#include "tests/unit/server_rpc/server_fixture.h"

namespace mantissa::server {
namespace {

TEST(StatusTest, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(StatusTest, CarriesTheReasonItWasGiven) {
  const grpc::Status status =
      ToGrpcStatus(ErrorWithReason(absl::StatusCode::kAborted, kLeaseLost, "attempt 1 does not hold a lease"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "attempt 1 does not hold a lease");
  EXPECT_EQ(ReasonOf(status), "LEASE_LOST");
  EXPECT_FALSE(HasRetryInfo(status));
}

TEST(StatusTest, WithoutAReasonSaysItsCode) {
  EXPECT_EQ(ReasonOf(ToGrpcStatus(absl::OutOfRangeError("a hole"))), "OUT_OF_RANGE");
}

TEST(StatusTest, SaysWhenWaitingHelps) {
  EXPECT_TRUE(HasRetryInfo(ToGrpcStatus(absl::UnavailableError("later"))));
  EXPECT_TRUE(HasRetryInfo(ToGrpcStatus(absl::ResourceExhaustedError("disk full"))));
  EXPECT_FALSE(HasRetryInfo(ToGrpcStatus(absl::NotFoundError("none"))));
}

TEST(StatusTest, HidesWhatWentWrongInside) {
  for (const absl::Status& inside : {absl::InternalError("/var/lib/secret is gone"), absl::UnknownError("/var/lib"),
                                     absl::DataLossError("/var/lib")}) {
    const grpc::Status status = ToGrpcStatus(inside);
    EXPECT_EQ(status.error_message().find("/var"), std::string::npos);
    EXPECT_EQ(status.error_details().find("/var"), std::string::npos);
  }
}

TEST(StatusTest, IllegalMovesSayWhatWasNotMet) {
  const grpc::Status status =
      ToGrpcStatus(ErrorWithReason(absl::StatusCode::kFailedPrecondition, "NOT_PAUSED", "the job is not paused"));
  google::rpc::Status rich;
  ASSERT_TRUE(rich.ParseFromString(status.error_details()));
  google::rpc::PreconditionFailure failure;
  ASSERT_TRUE(rich.details(1).UnpackTo(&failure));
  EXPECT_EQ(failure.violations(0).type(), "NOT_PAUSED");
}

TEST(StatusTest, NamesEveryViolationAndStaysSmallEnoughForTrailers) {
  std::vector<spec::Violation> violations;
  for (int i = 0; i < 3; ++i) {
    violations.push_back({"training.f" + std::to_string(i), spec::ViolationReason::kOutOfRange, "must be 1 to 5"});
  }
  const grpc::Status few = ToGrpcStatus(InvalidSpec(violations));
  EXPECT_EQ(BadRequestOf(few).field_violations_size(), 3);
  EXPECT_EQ(few.error_message(), "training.f0: must be 1 to 5; also wrong: training.f1, training.f2");

  for (int i = 0; i < 1000; ++i) {
    violations.push_back({"labels[\"" + std::string(300, 'x') + "\"]", spec::ViolationReason::kInvalidFormat,
                          std::string(5000, 'y') + "\xc3\xa4"});
  }
  const grpc::Status many = ToGrpcStatus(InvalidSpec(violations));
  EXPECT_LT(many.error_message().size() + many.error_details().size(), 8000u);
  const google::rpc::BadRequest bad = BadRequestOf(many);
  EXPECT_NE(bad.field_violations().rbegin()->description().find("more"), std::string::npos);
}

TEST(StatusTest, ASpecThatOnlyAsksForWhatIsNotBuiltIsUnimplemented) {
  const spec::Violation unbuilt{"resources.gpus", spec::ViolationReason::kUnimplemented, "not built yet"};
  const spec::Violation wrong{"name", spec::ViolationReason::kInvalidFormat, "must match"};
  EXPECT_EQ(InvalidSpec({unbuilt}).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(InvalidSpec({unbuilt, wrong}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mantissa::server
