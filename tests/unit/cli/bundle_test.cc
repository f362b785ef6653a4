// mantissa bundle: five files, each whole, and the command that replays them.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/download/sha256.h"
#include "client/cli/exit_code.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string HashOf(const std::string& bytes) {
  Sha256 hash;
  hash.Add(bytes);
  return hash.Finish();
}

class BundleCommandTest : public ::testing::Test {
 protected:
  BundleCommandTest() : folder_(::testing::TempDir() + "/bundle-" + std::to_string(::getpid())) {
    for (const char* name :
         {"model.safetensors", "optimizer.safetensors", "batch.safetensors", "BUNDLE.json", "MANIFEST.json"}) {
      names_.push_back(name);
    }
  }
  ~BundleCommandTest() override { std::filesystem::remove_all(folder_); }

  void AddJob(v1::Job::State state, v1::Reason::Code reason = v1::Reason::NUMERIC_FAILURE) {
    v1::Job job = ExampleJob(state);
    job.set_reason(reason);
    server_.jobs().AddJob(job);
  }

  v1::Artifact Artifact(const std::string& attempt, const std::string& name) const {
    v1::Artifact artifact;
    artifact.set_name(absl::StrCat("bundle-", attempt, "/", name));
    artifact.set_size_bytes(static_cast<std::int64_t>(Content(attempt, name).size()));
    artifact.set_sha256(HashOf(Content(attempt, name)));
    return artifact;
  }

  void AddBundle(const std::string& attempt) {
    for (const std::string& name : names_) server_.jobs().AddArtifact(Artifact(attempt, name));
  }

  static std::string Content(const std::string& attempt, const std::string& name) { return attempt + " of " + name; }

  // What the command asks for, in its order.
  void Serve(const std::string& attempt) {
    for (const std::string& name : names_) {
      server_.jobs().AddSend([text = Content(attempt, name)](const v1::DownloadArtifactRequest&,
                                                             grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
        v1::DownloadArtifactResponse response;
        response.set_data(text);
        writer->Write(response);
        return grpc::Status::OK;
      });
    }
  }

  CliRun Run(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"bundle", "digits-fp16", "-O",        folder_,
                                          "--wait", "0s",          "--address", server_.address()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCli(arguments);
  }

  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ + "/" + name).rdbuf();
    return text.str();
  }

  FakeServer server_;
  const std::string folder_;
  std::vector<std::string> names_;
};

TEST_F(BundleCommandTest, FetchesEveryFileOfTheNewestAndPrintsWhatReplaysIt) {
  AddJob(v1::Job::FAILED);
  AddBundle("0001");
  AddBundle("0003");
  Serve("0003");
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_EQ(run.out, absl::StrCat("mantissa-trainer --replay ", folder_, "\n"));
  for (const std::string& name : names_) EXPECT_EQ(Read(name), Content("0003", name));
  EXPECT_EQ(server_.jobs().downloaded().back().name(), "bundle-0003/MANIFEST.json") << "it names the others";
}

TEST_F(BundleCommandTest, AnAttemptCanBeChosen) {
  AddJob(v1::Job::FAILED);
  AddBundle("0001");
  AddBundle("0003");
  Serve("0001");
  EXPECT_EQ(Run({"--attempt", "1"}).code, kExitOk);
  EXPECT_EQ(Read("BUNDLE.json"), Content("0001", "BUNDLE.json"));
  const CliRun none = Run({"--attempt", "2", "--force"});
  EXPECT_EQ(none.code, kExitNotFound);
  EXPECT_THAT(none.err, HasSubstr("attempt 2 kept no iteration; attempt 0003 did"));
  EXPECT_EQ(Run({"--attempt", "0"}).code, kExitUsage);
}

TEST_F(BundleCommandTest, AFolderThatIsThereIsWrittenIntoOnlyByForce) {
  AddJob(v1::Job::FAILED);
  AddBundle("0001");
  std::filesystem::create_directories(folder_);
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, HasSubstr("is already there"));
  Serve("0001");
  EXPECT_EQ(Run({"--force"}).code, kExitOk);
}

TEST_F(BundleCommandTest, AsJsonItIsOneDocument) {
  AddJob(v1::Job::FAILED);
  AddBundle("0001");
  Serve("0001");
  const CliRun run = Run({"-o", "json"});
  EXPECT_THAT(run.out, AllOf(HasSubstr("\"replay\": \"mantissa-trainer --replay "), HasSubstr("\"size_bytes\": ")));
}

TEST_F(BundleCommandTest, ABundleThatIsNotWholeYetIsNotFetched) {
  AddJob(v1::Job::FAILED);
  server_.jobs().AddArtifact(Artifact("0001", "BUNDLE.json"));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitNotFound);
  EXPECT_THAT(run.err, HasSubstr("has not handed in the iteration it kept"));
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(BundleCommandTest, WhereNothingWasSkippedThereIsNothingToReplay) {
  AddJob(v1::Job::SUCCEEDED, v1::Reason::COMPLETED);
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitNotFound);
  EXPECT_THAT(run.err, AllOf(HasSubstr("there is nothing to replay"), HasSubstr("FIRST_SKIP")));
}

TEST_F(BundleCommandTest, AJobThatKeepsNoneSaysSo) {
  v1::Job job = ExampleJob(v1::Job::FAILED);
  job.mutable_resolved_spec()->mutable_training()->mutable_checkpoint()->set_bundle(v1::CheckpointSpec::NEVER);
  server_.jobs().AddJob(job);
  EXPECT_THAT(Run().err, HasSubstr("training.checkpoint.bundle: NEVER"));
}

}  // namespace
}  // namespace mantissa::cli
