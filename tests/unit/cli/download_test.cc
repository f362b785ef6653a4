// Downloads: whole or absent, whatever the connection and the disk do.
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/download/partial_file.h"
#include "client/cli/download/sha256.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string HashOf(const std::string& bytes) {
  Sha256 hash;
  hash.Add(bytes);
  return hash.Finish();
}

std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool Exists(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() {
    std::string name = ::testing::TempDir() + "/download_XXXXXX";
    folder_ = ::mkdtemp(name.data());
    file_ = folder_ + "/model.safetensors";
    for (int i = 0; i < 300'000; ++i) bytes_ += static_cast<char>(i * 7 % 251);
    server_.jobs().AddJob(ExampleJob(v1::Job::SUCCEEDED));
    v1::Artifact artifact;
    artifact.set_name("model.safetensors");
    artifact.set_size_bytes(static_cast<std::int64_t>(bytes_.size()));
    artifact.set_sha256(HashOf(bytes_));
    server_.jobs().AddArtifact(artifact);
    part_ = absl::StrCat(file_, ".", HashOf(bytes_).substr(0, 12), ".part");
  }
  ~DownloadTest() override {
    ::unlink(file_.c_str());
    ::unlink(part_.c_str());
    ::rmdir(folder_.c_str());
  }

  // Sends `bytes` from the offset asked for, at most `limit` of them, then ends with `status`.
  static FakeJobService::Send Sends(std::string bytes, std::size_t limit = 1 << 30,
                                    grpc::Status status = grpc::Status::OK) {
    return [=](const v1::DownloadArtifactRequest& request, grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) {
      std::string rest =
          bytes.substr(std::min(bytes.size(), static_cast<std::size_t>(request.offset()))).substr(0, limit);
      for (std::size_t at = 0; at < rest.size(); at += 65536) {
        v1::DownloadArtifactResponse response;
        response.set_data(rest.substr(at, 65536));
        writer->Write(response);
      }
      return status;
    };
  }

  CliRun Run(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"download", "digits-fp16", "-O", file_, "--address", server_.address()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCli(arguments);
  }

  FakeServer server_;
  std::string folder_, file_, part_, bytes_;
};

TEST_F(DownloadTest, WritesTheFileAndLeavesNoPart) {
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_EQ(ReadAll(file_), bytes_);
  EXPECT_FALSE(Exists(part_));
  EXPECT_THAT(run.out, HasSubstr(HashOf(bytes_)));
}

TEST_F(DownloadTest, GoesOnWhereTheConnectionBroke) {
  server_.jobs().AddSend(Sends(bytes_, 100'000, grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone")));
  server_.jobs().AddSend(Sends(bytes_));
  EXPECT_EQ(Run().code, kExitOk);
  EXPECT_EQ(ReadAll(file_), bytes_);
  ASSERT_THAT(server_.jobs().downloaded(), SizeIs(2));
  EXPECT_EQ(server_.jobs().downloaded()[1].offset(), 100'000);
}

TEST_F(DownloadTest, GoesOnWithWhatAnEarlierRunLeft) {
  std::ofstream(part_) << bytes_.substr(0, 12345);
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.err, HasSubstr("going on from"));
  EXPECT_EQ(server_.jobs().downloaded()[0].offset(), 12345);
  EXPECT_EQ(ReadAll(file_), bytes_);
}

TEST_F(DownloadTest, AWholePartNeedsNoCall) {
  std::ofstream(part_) << bytes_;
  EXPECT_EQ(Run().code, kExitOk);
  EXPECT_THAT(server_.jobs().downloaded(), IsEmpty());
  EXPECT_EQ(ReadAll(file_), bytes_);
}

TEST_F(DownloadTest, ThrowsADamagedPartAwayAndFetchesItAgain) {
  std::ofstream(part_) << std::string(12345, 'x');
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.err, HasSubstr("damaged"));
  ASSERT_THAT(server_.jobs().downloaded(), SizeIs(2));
  EXPECT_EQ(server_.jobs().downloaded()[1].offset(), 0);
  EXPECT_EQ(ReadAll(file_), bytes_);
}

TEST_F(DownloadTest, APartThatIsTooLongIsDamaged) {
  std::ofstream(part_) << bytes_ << "more";
  server_.jobs().AddSend(Sends(bytes_));
  EXPECT_EQ(Run().code, kExitOk);
  EXPECT_EQ(server_.jobs().downloaded()[0].offset(), 0);
}

TEST_F(DownloadTest, NeverHandsOutDamagedBytes) {
  std::string damaged = bytes_;
  damaged[200'000] = static_cast<char>(damaged[200'000] ^ 1);
  server_.jobs().AddSend(Sends(damaged));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, AllOf(HasSubstr("SHA-256"), HasSubstr(HashOf(damaged)), HasSubstr(HashOf(bytes_))));
  EXPECT_FALSE(Exists(file_));
  EXPECT_FALSE(Exists(part_));
}

TEST_F(DownloadTest, AnEndThatComesTooEarlyIsAnError) {
  server_.jobs().AddSend(Sends(bytes_, 1000));
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, HasSubstr("ended after 1000 of 300000 bytes"));
  EXPECT_FALSE(Exists(file_));
}

TEST_F(DownloadTest, KeepsThePartWhenTheServerStaysAway) {
  server_.jobs().AddSend(Sends(bytes_, 1000, grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone")));
  server_.jobs().AddSend([](const v1::DownloadArtifactRequest&, grpc::ServerWriter<v1::DownloadArtifactResponse>*) {
    return ErrorWith(grpc::StatusCode::NOT_FOUND, "the file is gone", "ARTIFACT_NOT_FOUND");
  });
  EXPECT_EQ(Run().code, kExitNotFound);
  EXPECT_EQ(ReadAll(part_), bytes_.substr(0, 1000));
}

TEST_F(DownloadTest, ReplacesNoDeviceNorAnythingElseThatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  const CliRun refused = Run({"--force"});
  EXPECT_EQ(refused.code, kExitUsage);
  EXPECT_THAT(refused.err, HasSubstr("is no regular file"));
  struct stat info {};
  ASSERT_EQ(::stat(file_.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode)) << "it is still there";
}

TEST_F(DownloadTest, ReplacesNothingUnlessForced) {
  std::ofstream(file_) << "mine";
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun refused = Run();
  EXPECT_EQ(refused.code, kExitError);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(ReadAll(file_), "mine");
  EXPECT_EQ(Run({"--force"}).code, kExitOk);
  EXPECT_EQ(ReadAll(file_), bytes_);
}

TEST_F(DownloadTest, TwoAtOnceDoNotWriteIntoEachOther) {
  const auto first = PartialFile::Open(file_, HashOf(bytes_), 10);
  ASSERT_TRUE(first.ok());
  const CliRun run = Run();
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, HasSubstr("another download is writing"));
}

TEST_F(DownloadTest, NamesTheFilesThereAreWhenThereIsNoSuchOne) {
  const CliRun run = RunCli({"download", "digits-fp16", "other.bin", "--wait", "0s", "--address", server_.address()});
  EXPECT_EQ(run.code, kExitNotFound);
  EXPECT_THAT(run.err, HasSubstr("it has model.safetensors"));
}

TEST_F(DownloadTest, WaitsForAFileThatTheWorkerIsHandingIn) {
  v1::Artifact late;
  late.set_name("late.bin");
  late.set_size_bytes(static_cast<std::int64_t>(bytes_.size()));
  late.set_sha256(HashOf(bytes_));
  server_.jobs().AddArtifactAfter(2, late);
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun run =
      RunCli({"download", "digits-fp16", "late.bin", "-O", file_, "--wait", "1m", "--address", server_.address()});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.err, HasSubstr("waiting for the worker to hand in late.bin"));
  EXPECT_EQ(ReadAll(file_), bytes_);
}

TEST_F(DownloadTest, DoesNotWaitForAJobThatRuns) {
  server_.jobs().SetJob(ExampleJob(v1::Job::RUNNING));
  const CliRun run = RunCli({"download", "digits-fp16", "late.bin", "--wait", "1h", "--address", server_.address()});
  EXPECT_EQ(run.code, kExitNotFound);
}

TEST_F(DownloadTest, NamesAFolderThatIsNotThere) {
  server_.jobs().AddSend(Sends(bytes_));
  const CliRun run = RunCli({"download", "digits-fp16", "-O", folder_ + "/no/model", "--address", server_.address()});
  EXPECT_EQ(run.code, kExitError);
  EXPECT_THAT(run.err, HasSubstr("make the folder first"));
}

TEST_F(DownloadTest, WritesToStdoutAndSaysWhenThatWasDamaged) {
  server_.jobs().AddSend(Sends(bytes_));
  server_.jobs().AddSend(Sends(std::string(300'000, 'x')));
  const auto run = [&] { return RunCli({"download", "digits-fp16", "-O", "-", "--address", server_.address()}); };
  const CliRun good = run();
  EXPECT_EQ(good.code, kExitOk) << good.err;
  EXPECT_TRUE(good.out == bytes_);
  EXPECT_EQ(run().code, kExitError);
}

TEST_F(DownloadTest, AServersNameIsNoPathHere) {
  v1::Artifact artifact;
  artifact.set_name("../..");
  artifact.set_sha256(HashOf(""));
  server_.jobs().AddArtifact(artifact);
  const CliRun run = RunCli({"download", "digits-fp16", "../..", "--address", server_.address()});
  EXPECT_EQ(run.code, kExitUsage);
  EXPECT_THAT(run.err, HasSubstr("choose one with -O"));
}

}  // namespace
}  // namespace mantissa::cli
