#include "worker/trainer/guarded.h"

#include <new>
#include <stdexcept>
#include <string>

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Status Thrown(void (*work)()) {
  return Guarded("study", "cpu", [work] {
    work();
    return absl::OkStatus();
  });
}

TEST(GuardedTest, WhatIsReturnedGoesThrough) {
  EXPECT_TRUE(Thrown([] {}).ok());
  const absl::Status returned =
      Guarded("study", "cpu", [] { return Because(v1::Reason::BAD_DATA, absl::NotFoundError("no file")); });
  EXPECT_TRUE(absl::IsNotFound(returned));
  EXPECT_EQ(ReasonOf(returned), v1::Reason::BAD_DATA);
}

TEST(GuardedTest, MemoryThatIsUsedUpIsSaidWithFieldAndRemedy) {
  for (const auto work :
       {+[] { throw std::bad_alloc(); }, +[] { TORCH_CHECK_WITH(OutOfMemoryError, false, "tried to allocate 2 GiB"); },
        +[] { TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory: 12 bytes"); }}) {
    const absl::Status status = Thrown(work);
    EXPECT_EQ(ReasonOf(status), v1::Reason::OUT_OF_DEVICE_MEMORY) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("study: the memory of cpu is used up"), HasSubstr("use a smaller batch_size")));
  }
}

TEST(GuardedTest, AnyOtherExceptionIsAnErrorOfTheTrainer) {
  for (const auto work :
       {+[] { TORCH_CHECK(false, "shapes differ"); }, +[] { throw std::runtime_error("shapes differ"); }}) {
    const absl::Status status = Thrown(work);
    EXPECT_EQ(ReasonOf(status), v1::Reason::INTERNAL_ERROR) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("the trainer failed: shapes differ"), HasSubstr("report it")));
  }
}

}  // namespace
}  // namespace mantissa::trainer
