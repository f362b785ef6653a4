// Settings of exporters: what is wrong is said before a job runs.
#include "worker/agent/exporters/export_setup.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ExportSetupTest : public testing::Test {
 protected:
  ~ExportSetupTest() override { fs::remove_all(folder_); }

  absl::StatusOr<ExportSetup> Prepared() {
    return PrepareExports(settings_, [this](const std::string& name) -> std::optional<std::string> {
      if (name != "MLFLOW_TRACKING_TOKEN" || token_.empty()) return std::nullopt;
      return token_;
    });
  }
  std::string Complaint() {
    const auto setup = Prepared();
    return setup.ok() ? "" : std::string(setup.status().message());
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("exports-" + std::to_string(::getpid()));
  WorkerSettings settings_;
  std::string token_;
};

TEST_F(ExportSetupTest, NothingIsExportedUnlessAskedFor) {
  const auto setup = Prepared();
  ASSERT_TRUE(setup.ok()) << setup.status();
  EXPECT_EQ(setup->tensorboard_dir, "");
  EXPECT_FALSE(setup->mlflow.has_value());
}

TEST_F(ExportSetupTest, EverythingArrives) {
  settings_.tensorboard_dir = (folder_ / "a/b").string();
  settings_.mlflow_uri = "https://mlflow.example/base/";
  settings_.mlflow_experiment = "digits";
  settings_.export_interval = std::chrono::seconds(7);
  token_ = "abc";
  const auto setup = Prepared();
  ASSERT_TRUE(setup.ok()) << setup.status();
  EXPECT_EQ(setup->tensorboard_dir, settings_.tensorboard_dir);
  EXPECT_TRUE(fs::is_directory(folder_ / "a/b"));
  EXPECT_EQ(setup->mlflow->uri, "https://mlflow.example/base");
  EXPECT_EQ(setup->mlflow->experiment, "digits");
  EXPECT_EQ(setup->mlflow->http.bearer_token, "abc");
  EXPECT_EQ(setup->options.interval, std::chrono::seconds(7));
}

TEST_F(ExportSetupTest, AFolderThatCannotBeMadeIsSaid) {
  std::ofstream(folder_.string()) << "in the way";
  settings_.tensorboard_dir = (folder_ / "a").string();
  EXPECT_THAT(Complaint(), HasSubstr("--tensorboard-dir: " + settings_.tensorboard_dir + " can't be written into"));
}

TEST_F(ExportSetupTest, OnlyWebAddressesWithoutSecretsAreTaken) {
  for (const char* uri : {"file:///tmp/mlruns", "mlflow.example:5000", "http://", "http:///x", "sqlite:///x.db",
                          "http://user:hunter2@host", "http://host?x=1", "http://ho st", "http://host\r\nX: y"}) {
    settings_.mlflow_uri = uri;
    EXPECT_THAT(Complaint(), HasSubstr("--mlflow-uri: it must be http://host[:port]")) << uri;
    EXPECT_THAT(Complaint(), Not(HasSubstr("hunter2")));
  }
  for (const char* uri : {"http://host", "http://host:5000/", "http://[::1]:5000", "https://host/base"}) {
    settings_.mlflow_uri = uri;
    EXPECT_EQ(Complaint(), "") << uri;
  }
}

TEST_F(ExportSetupTest, ATokenNeverCrossesTheNetworkInClearText) {
  token_ = "abc";
  settings_.mlflow_uri = "http://mlflow.example:5000";
  EXPECT_THAT(Complaint(), HasSubstr("would go over the network in clear text; use https"));
  for (const char* uri : {"https://mlflow.example", "http://127.0.0.1:5000", "http://localhost", "http://[::1]:5000"}) {
    settings_.mlflow_uri = uri;
    EXPECT_EQ(Complaint(), "") << uri;
  }
  settings_.mlflow_uri = "http://localhost.example";
  EXPECT_THAT(Complaint(), HasSubstr("clear text"));
  settings_.mlflow_uri = "http://127.evil.example";
  EXPECT_THAT(Complaint(), HasSubstr("clear text"));
}

TEST_F(ExportSetupTest, ATokenIsNoHeader) {
  settings_.mlflow_uri = "https://host";
  token_ = "abc\r\nX: y";
  EXPECT_THAT(Complaint(), HasSubstr("MLFLOW_TRACKING_TOKEN: it holds a blank or a control character"));
  EXPECT_THAT(Complaint(), Not(HasSubstr("abc")));
}

TEST_F(ExportSetupTest, AnExperimentHasAName) {
  settings_.mlflow_uri = "https://host";
  settings_.mlflow_experiment = "";
  EXPECT_THAT(Complaint(), HasSubstr("--mlflow-experiment: it is empty"));
}

}  // namespace
}  // namespace mantissa::agent
