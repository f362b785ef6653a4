#include "worker/agent/worker_settings.h"

#include <filesystem>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class WorkerSettingsTest : public testing::Test {
 protected:
  WorkerSettingsTest() {
    fs::create_directories(folder_ / "data");
    settings_.state_dir = (folder_ / "state").string();
    settings_.trainer = "/bin/true";
  }
  ~WorkerSettingsTest() override { fs::remove_all(folder_); }

  std::string Complaint() {
    const auto setup = Prepare(settings_);
    return setup.ok() ? "" : std::string(setup.status().message());
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("settings-" + std::to_string(::getpid()));
  WorkerSettings settings_;
};

TEST_F(WorkerSettingsTest, EverySettingArrives) {
  WorkerSettings values;
  process::Settings settings = DeclareSettings(values);
  const process::SettingTexts flags = {{"server", "example:1"},     {"metrics-listen", "127.0.0.1:0"},
                                       {"state-dir", "/s"},         {"worker-id", "w"},
                                       {"tls-ca", "/ca"},           {"tls-certificate", "/c"},
                                       {"tls-key", "/k"},           {"tls-server-name", "n"},
                                       {"root", "a=/a,b=/b"},       {"label", "k=v"},
                                       {"cpu-slots", "3"},          {"threads", "5"},
                                       {"trainer", "/t"},           {"require-sandbox", "landlock"},
                                       {"drain-grace", "7s"},       {"pilot", "true"},
                                       {"pilot-end", "1795000000"}, {"pilot-margin", "8s"},
                                       {"pilot-idle", "9s"},        {"tensorboard-dir", "/tb"},
                                       {"mlflow-uri", "http://m"},  {"mlflow-experiment", "e"},
                                       {"export-interval", "3s"},   {"log-level", "debug"},
                                       {"log-format", "json"},      {"dcgm-job-mapping-dir", "/m"}};
  EXPECT_EQ(flags.size(), settings.settings().size()) << "each setting is in this test";
  ASSERT_TRUE(settings.Load(flags, [](const std::string&) { return std::nullopt; }).ok());
  EXPECT_EQ(values.server, "example:1");
  EXPECT_EQ(values.metrics_listen, "127.0.0.1:0");
  EXPECT_EQ(values.state_dir, "/s");
  EXPECT_EQ(values.worker_id, "w");
  EXPECT_EQ(values.tls_ca, "/ca");
  EXPECT_EQ(values.tls_certificate, "/c");
  EXPECT_EQ(values.tls_key, "/k");
  EXPECT_EQ(values.tls_server_name, "n");
  EXPECT_EQ(values.roots, (std::vector<std::string>{"a=/a", "b=/b"}));
  EXPECT_EQ(values.labels, (std::vector<std::string>{"k=v"}));
  EXPECT_EQ(values.cpu_slots, 3);
  EXPECT_EQ(values.threads, 5);
  EXPECT_EQ(values.trainer, "/t");
  EXPECT_EQ(values.require_sandbox, "landlock");
  EXPECT_EQ(values.drain_grace, std::chrono::seconds(7));
  EXPECT_TRUE(values.pilot);
  EXPECT_EQ(values.pilot_end, "1795000000");
  EXPECT_EQ(values.pilot_margin, std::chrono::seconds(8));
  EXPECT_EQ(values.pilot_idle, std::chrono::seconds(9));
  EXPECT_EQ(values.dcgm_job_mapping_dir, "/m");
  EXPECT_EQ(values.tensorboard_dir, "/tb");
  EXPECT_EQ(values.mlflow_uri, "http://m");
  EXPECT_EQ(values.mlflow_experiment, "e");
  EXPECT_EQ(values.export_interval, std::chrono::seconds(3));
  EXPECT_EQ(values.log_level, "debug");
  EXPECT_EQ(values.log_format, "json");
}

TEST_F(WorkerSettingsTest, CheckpointsLieInTheStateFolderByDefaultAndAreWritable) {
  settings_.roots = {"data=" + (folder_ / "data").string()};
  settings_.labels = {"zone=a", "empty="};
  const auto setup = Prepare(settings_);
  ASSERT_TRUE(setup.ok()) << setup.status();
  ASSERT_EQ(setup->roots.size(), 2u);
  EXPECT_FALSE(setup->roots[0].writable);
  EXPECT_EQ(setup->roots[1].name, "checkpoints");
  EXPECT_TRUE(setup->roots[1].writable);
  EXPECT_TRUE(fs::is_directory(folder_ / "state/checkpoints"));
  EXPECT_EQ(setup->labels.at("zone"), "a");
  EXPECT_EQ(setup->labels.at("empty"), "");
  EXPECT_GE(setup->threads, 1);
}

TEST_F(WorkerSettingsTest, ASandboxIsRequiredOnlyOfAKernelThatHasIt) {
  const process::SandboxLevel kernel = process::KernelSandboxLevel();
  for (const auto level : {process::SandboxLevel::kNone, process::SandboxLevel::kSeccomp,
                           process::SandboxLevel::kLandlock, process::SandboxLevel::kFull}) {
    settings_.require_sandbox = process::SandboxLevelName(level);
    const auto setup = Prepare(settings_);
    ASSERT_EQ(setup.ok(), process::Satisfies(kernel, level)) << settings_.require_sandbox;
    if (setup.ok()) {
      EXPECT_EQ(setup->required_sandbox, level);
      EXPECT_EQ(setup->kernel_sandbox, kernel);
    } else {
      EXPECT_THAT(Complaint(),
                  AllOf(HasSubstr("--require-sandbox: " + settings_.require_sandbox), HasSubstr("require less")));
    }
  }
}

TEST_F(WorkerSettingsTest, AGivenRootOfCheckpointsIsWritable) {
  settings_.roots = {"checkpoints=" + (folder_ / "data").string()};
  const auto setup = Prepare(settings_);
  ASSERT_TRUE(setup.ok()) << setup.status();
  ASSERT_EQ(setup->roots.size(), 1u);
  EXPECT_TRUE(setup->roots[0].writable);
}

TEST_F(WorkerSettingsTest, WhatIsWrongIsNamedWithTheRemedy) {
  settings_.roots = {"data=" + (folder_ / "missing").string()};
  EXPECT_THAT(Complaint(), testing::AllOf(HasSubstr("--root"), HasSubstr("missing"), HasSubstr("make it")));
  settings_.roots = {"data"};
  EXPECT_THAT(Complaint(), HasSubstr("--root"));
  settings_.roots = {};
  settings_.trainer = "/no/such/trainer";
  EXPECT_THAT(Complaint(), testing::AllOf(HasSubstr("--trainer"), HasSubstr("/no/such/trainer")));
  settings_.trainer = folder_.string();
  EXPECT_THAT(Complaint(), HasSubstr("--trainer")) << "a folder is no program";
  settings_.trainer = "/bin/true";
  settings_.server = "localhost";
  EXPECT_THAT(Complaint(), HasSubstr("--server"));
  settings_.server = "localhost:1";
  settings_.labels = {"novalue"};
  EXPECT_THAT(Complaint(), HasSubstr("--label"));
  settings_.labels = {"a=1", "a=2"};
  EXPECT_THAT(Complaint(), HasSubstr("twice"));
  settings_.labels = {};
  settings_.dcgm_job_mapping_dir = "/dev/null/mapping";
  EXPECT_THAT(Complaint(), testing::AllOf(HasSubstr("--dcgm-job-mapping-dir"), HasSubstr("leave the setting out")));
  settings_.dcgm_job_mapping_dir = (folder_ / "made/mapping").string();
  EXPECT_EQ(Complaint(), "");
  EXPECT_TRUE(fs::is_directory(folder_ / "made/mapping"));
}

TEST_F(WorkerSettingsTest, ATrainerIsLookedForBesideTheProgram) {
  settings_.trainer = "";
  const std::string complaint = Complaint();
  if (!complaint.empty()) {
    EXPECT_THAT(complaint, HasSubstr("beside mantissa-worker"));
  }
}

TEST_F(WorkerSettingsTest, ACertificateIsShownToAServerThatIsKnown) {
  settings_.tls_certificate = "/c";
  settings_.tls_key = "/k";
  EXPECT_THAT(Complaint(), testing::StartsWith("--tls-certificate: is shown to a server over TLS only"));
  settings_.tls_ca = "/nowhere/ca.pem";
  settings_.tls_certificate = settings_.tls_key = "";
  EXPECT_THAT(Complaint(), testing::StartsWith("--tls-ca: /nowhere/ca.pem can't be read"));
}

}  // namespace
}  // namespace mantissa::agent
