#include "worker/agent/identity.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;

class IdentityTest : public testing::Test {
 protected:
  ~IdentityTest() override { fs::remove_all(folder_); }
  const fs::path folder_ = fs::path(testing::TempDir()) / ("identity-" + std::to_string(::getpid()));
};

TEST_F(IdentityTest, IsTheSameAfterARestart) {
  std::string id;
  {
    const auto identity = Identity::Open(folder_ / "deep", "");
    ASSERT_TRUE(identity.ok()) << identity.status();
    id = identity->worker_id();
    EXPECT_TRUE(IsWorkerId(id));
  }
  EXPECT_EQ(Identity::Open(folder_ / "deep", "")->worker_id(), id);
}

TEST_F(IdentityTest, AGivenIdIsUsedAndKept) {
  EXPECT_EQ(Identity::Open(folder_, "ws-1")->worker_id(), "ws-1");
  EXPECT_EQ(Identity::Open(folder_, "")->worker_id(), "ws-1");
}

TEST_F(IdentityTest, TwoAgentsNeverShareAnIdentity) {
  const auto first = Identity::Open(folder_, "");
  const auto second = Identity::Open(folder_, "");
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr("another mantissa-worker"));
}

TEST_F(IdentityTest, ADamagedFileGivesANewId) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "worker-id") << "NOT an id\n";
  EXPECT_TRUE(IsWorkerId(Identity::Open(folder_, "")->worker_id()));
}

TEST_F(IdentityTest, ABadIdAndABadFolderAreRefusedWithTheRemedy) {
  for (const char* bad : {"WS-1", "a b", "a_b", "ü"}) {
    const auto identity = Identity::Open(folder_, bad);
    EXPECT_TRUE(absl::IsInvalidArgument(identity.status())) << bad;
    EXPECT_THAT(std::string(identity.status().message()), testing::HasSubstr("--worker-id"));
  }
  EXPECT_FALSE(IsWorkerId(std::string(64, 'a')));
  EXPECT_TRUE(IsWorkerId(std::string(63, 'a')));
  fs::create_directories(folder_);
  std::ofstream(folder_ / "file") << "";
  EXPECT_THAT(std::string(Identity::Open(folder_ / "file", "").status().message()), testing::HasSubstr("--state-dir"));
}

}  // namespace
}  // namespace mantissa::agent
