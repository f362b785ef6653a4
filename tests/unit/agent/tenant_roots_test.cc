#include "worker/agent/tenant_roots.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

// A worker with data that is read and checkpoints that are written.
class TenantRootsTest : public testing::Test {
 protected:
  TenantRootsTest() {
    for (const char* name : {"data", "checkpoints"}) {
      const bool writable = std::string(name) == "checkpoints";
      fs::create_directories(folder_ / name);
      settings_.push_back({name, (folder_ / name).string(), writable});
      v1::BoundRoot& root = whole_.emplace_back();
      root.set_name(name);
      root.set_path((folder_ / name).string());
      root.set_writable(writable);
      root.set_storage_id(std::string("storage of ") + name);
    }
    roots_ = *process::Roots::Open(settings_);
  }
  ~TenantRootsTest() override { fs::remove_all(folder_); }

  // name=path of each.
  std::vector<std::string> Of(const std::string& tenant) {
    const auto bound = RootsOfTenant(roots_, whole_, tenant);
    EXPECT_TRUE(bound.ok()) << bound.status();
    std::vector<std::string> shown;
    for (const v1::BoundRoot& root : bound.value_or(std::vector<v1::BoundRoot>())) {
      shown.push_back(root.name() + "=" + fs::relative(root.path(), folder_).string());
      EXPECT_EQ(root.storage_id(), "storage of " + root.name());
      EXPECT_EQ(root.writable(), root.name() == "checkpoints");
    }
    return shown;
  }
  const process::OpenRoot& Checkpoints() { return *roots_.Find("checkpoints"); }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("tenants-" + std::to_string(::getpid()));
  std::vector<process::Root> settings_;
  std::vector<v1::BoundRoot> whole_;
  process::Roots roots_;
};

TEST_F(TenantRootsTest, WithoutTenantsRootsAreWhole) {
  EXPECT_THAT(Of("default"), ElementsAre("data=data", "checkpoints=checkpoints"));
}

TEST_F(TenantRootsTest, ATenantHasItsFoldersAndNothingElse) {
  fs::create_directories(folder_ / "data/tenants/red");
  EXPECT_THAT(Of("red"), ElementsAre("data=data/tenants/red", "checkpoints=checkpoints/tenants/red"));
  EXPECT_TRUE(fs::is_directory(folder_ / "checkpoints/tenants/red")) << "it is made where it may be";
}

TEST_F(TenantRootsTest, ATenantWithoutAFolderInARootGoesWithoutTheRoot) {
  EXPECT_THAT(Of("blue"), ElementsAre("checkpoints=checkpoints/tenants/blue"));
  EXPECT_FALSE(fs::exists(folder_ / "data/tenants"));
}

TEST_F(TenantRootsTest, ALinkInThePlaceOfATenantsFolderIsRefused) {
  fs::create_directories(folder_ / "data/tenants/red");
  fs::create_directory_symlink("red", folder_ / "data/tenants/blue");
  EXPECT_FALSE(RootsOfTenant(roots_, whole_, "blue").ok());
}

TEST_F(TenantRootsTest, ANameThatIsNoneIsRefused) {
  for (const char* name : {"", "..", "../red", "a/b", "Red", "tenants/red", "/", "red ", "r\xc3\xa9"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(RootsOfTenant(roots_, whole_, name).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(TenantFolder(name).status())) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(TenantFolder(std::string(64, 'a')).status()));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoints/tenants"));
}

TEST_F(TenantRootsTest, AJobsFolderIsFoundInEveryTenants) {
  for (const char* job : {"tenants/red/job-1", "tenants/blue/job-1", "tenants/blue/job-2", "job-3"}) {
    fs::create_directories(folder_ / "checkpoints" / job);
  }
  EXPECT_THAT(InEveryTenant(Checkpoints(), "job-1/attempt-0001/step-1"),
              UnorderedElementsAre("job-1/attempt-0001/step-1", "tenants/red/job-1/attempt-0001/step-1",
                                   "tenants/blue/job-1/attempt-0001/step-1"));
  EXPECT_THAT(InEveryTenant(Checkpoints(), "job-3/a/b"), ElementsAre("job-3/a/b"));
  EXPECT_TRUE(JobFolder(Checkpoints(), "red", "job-1").ok());
  EXPECT_TRUE(JobFolder(Checkpoints(), "default", "job-3").ok());
  for (const char* job : {"job-2", "", "..", "../blue/job-1", "job-3"}) {
    EXPECT_FALSE(JobFolder(Checkpoints(), "red", job).ok()) << job;
  }
}

}  // namespace
}  // namespace mantissa::agent
