// `mantissa top` through what can happen to it, against a server that says what a test tells it to.
#include <csignal>
#include <string>
#include <thread>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/top_jobs.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class TopSessionTest : public ::testing::Test {
 protected:
  TopSessionTest() {
    server_.jobs().AddJob(EndedTopJob("01jdgts0a000000000000000aa", "done", v1::Job::SUCCEEDED, 120));
    server_.jobs().AddJob(RunningTopJob("01jdgts00000000000000000aa", "digits", 412, 690, "ws-1", "cpu"));
    server_.jobs().AddJob(TopJob("01jdgts30000000000000000aa", "sweep", v1::Job::QUEUED));
  }

  CliRun Run(std::vector<std::string> arguments, const CliWorld& world = {}) {
    arguments.insert(arguments.begin(), {"top", "--address", server_.address()});
    return RunCli(arguments, world);
  }

  // Sends the frames, stays open until the client goes, having run `then`.
  static FakeJobService::JobsWatch Hangs(FakeJobService::JobsFrames frames, std::function<void()> then) {
    return
        [frames = std::move(frames), then = std::move(then)](const v1::WatchJobsRequest&, grpc::ServerContext* context,
                                                             grpc::ServerWriter<v1::WatchJobsResponse>* writer) {
          for (const v1::WatchJobsResponse& frame : frames) writer->Write(frame);
          then();
          while (!context->IsCancelled()) ::usleep(1000);  // gRPC's synchronous server has nothing to wait on
          return grpc::Status::CANCELLED;
        };
  }

  static FakeJobService::JobsWatch Ends(const grpc::Status& status) {
    return [status](const v1::WatchJobsRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobsResponse>*) {
      return status;
    };
  }

  FakeServer server_;
};

void Interrupt() { ::kill(::getpid(), SIGINT); }

TEST_F(TopSessionTest, WithoutATerminalIsOnePictureAndNoEscapes) {
  const CliRun run = Run({});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr(absl::StrCat("mantissa ", server_.address(), "   1 running, 1 queued")));
  EXPECT_THAT(run.out, HasSubstr("412/690"));
  EXPECT_THAT(run.out, HasSubstr("ws-1    cpu-0   busy   digits\n")) << "the one device of its worker";
  EXPECT_THAT(run.out, HasSubstr("SUCCEEDED"));
  EXPECT_THAT(run.out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(run.err, "");
}

TEST_F(TopSessionTest, OnceIsOnePictureOnATerminal) {
  const CliRun run = Run({"--once"}, {.terminal = true, .width = 80});
  EXPECT_EQ(run.code, kExitOk);
  EXPECT_THAT(run.out, HasSubstr("digits"));
  EXPECT_THAT(run.out, Not(HasSubstr("\x1b[?1049h")));
}

TEST_F(TopSessionTest, AsJsonIsOneObject) {
  const CliRun run = Run({"-o", "json"}, {.terminal = true});
  ASSERT_EQ(run.code, kExitOk) << run.err;
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["address"], server_.address());
  EXPECT_EQ(json["jobs"]["RUNNING"], 1);
  EXPECT_EQ(json["jobs"]["QUEUED"], 1);
  EXPECT_EQ(json["running"][0]["progress"]["iteration"], 412);
  EXPECT_EQ(json["waiting"][0]["name"], "sweep");
  EXPECT_EQ(json["ended"][0]["state"], "SUCCEEDED");
  EXPECT_EQ(json["workers"][0]["id"], "ws-1");
  EXPECT_EQ(Run({"-o", "name"}).out, "01jdgts00000000000000000aa\n01jdgts30000000000000000aa\n");
  EXPECT_THAT(Run({"-o", "yaml"}).out, HasSubstr("\nrunning:\n  - attempt: 1\n"));
}

TEST_F(TopSessionTest, AServerThatCanNotBeReachedIsSaidAndTheTerminalIsLeftAlone) {
  const CliRun run = RunCli({"top", "--address", "127.0.0.1:1", "--rpc-timeout", "200ms"}, {.terminal = true});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, HasSubstr("error:"));
}

TEST_F(TopSessionTest, OnATerminalHasItsOwnScreenAndGivesItBack) {
  server_.jobs().AddJobsWatch(Hangs({JobsFrame({TopJob("1", "first", v1::Job::QUEUED)})}, Interrupt));
  const CliRun run = Run({}, {.terminal = true});
  EXPECT_EQ(run.code, kExitInterrupted);
  EXPECT_THAT(run.out, ::testing::StartsWith("\x1b[?1049h\x1b[?25l\x1b[?2026h\x1b[H"));
  EXPECT_THAT(run.out, ::testing::EndsWith("\x1b[?2026l\x1b[?25h\x1b[?1049l"));
  EXPECT_THAT(server_.jobs().jobs_watched().at(0).filter().states(),
              ElementsAre(v1::Job::RUNNING, v1::Job::STARTING, v1::Job::PAUSING, v1::Job::CANCELLING, v1::Job::QUEUED,
                          v1::Job::PAUSED))
      << "not every job that ever was";
}

// What is drawn is read while the session runs, as a person would.
class TopScreenTest : public TopSessionTest {
 protected:
  // Runs the session in a thread of its own until `seen` has been drawn, then Ctrl-C.
  int RunUntil(const std::vector<std::string>& seen) {
    int code = -1;
    std::thread session([&] {
      const process::RealClock clock;
      code = RunCommandLine({"top", "--address", server_.address()},
                            {.out = out_,
                             .err = err_,
                             .out_is_terminal = true,
                             .err_is_terminal = true,
                             .width = [] { return 120; },
                             .environment = [](const std::string& name) -> std::optional<std::string> {
                               if (name == "LANG") return "C.UTF-8";
                               return std::nullopt;
                             },
                             .clock = clock});
    });
    std::size_t from = 0;
    for (const std::string& text : seen) {
      std::size_t at = std::string::npos;
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while ((at = out_.text().find(text, from)) == std::string::npos && std::chrono::steady_clock::now() < deadline) {
        ::usleep(1000);
      }
      EXPECT_NE(at, std::string::npos) << text << " is not in\n" << out_.text().substr(from);
      from = at == std::string::npos ? from : at;
    }
    Interrupt();
    session.join();
    return code;
  }

  KeptOutput out_, err_;
};

TEST_F(TopScreenTest, FollowsJobsThroughALostConnection) {
  server_.jobs().AddJobsWatch([this](const v1::WatchJobsRequest&, grpc::ServerContext* context,
                                     grpc::ServerWriter<v1::WatchJobsResponse>* writer) {
    writer->Write(JobsFrame({TopJob("1", "first", v1::Job::QUEUED), TopJob("2", "second", v1::Job::QUEUED)}));
    while (out_.text().find("2 queued") == std::string::npos && !context->IsCancelled()) ::usleep(1000);
    return ErrorWith(grpc::StatusCode::UNAVAILABLE, "the server is shutting down", "SHUTTING_DOWN");
  });
  server_.jobs().AddJobsWatch(Hangs({JobsFrame({RunningTopJob("2", "second", 5, 10, "ws-1", "cpu")})}, [] {}));
  EXPECT_EQ(RunUntil({"2 queued", "has not answered for 0 s; trying again", "1 running", "5/10"}), kExitInterrupted);
  const std::string last = out_.text().substr(out_.text().rfind("\x1b[H"));
  EXPECT_THAT(last, Not(HasSubstr("first"))) << "it is not there any more";
  EXPECT_THAT(last, Not(HasSubstr("trying again")));
  EXPECT_THAT(last, HasSubstr("done")) << "what has ended was listed";
}

TEST_F(TopScreenTest, ARefusalThatNoWaitingHelpsEndsIt) {
  server_.jobs().AddJobsWatch(Ends(ErrorWith(grpc::StatusCode::PERMISSION_DENIED, "not for you", "NO_ROLE")));
  const CliRun run = Run({}, {.terminal = true});
  EXPECT_EQ(run.code, kExitNotAuthorised);
  EXPECT_THAT(run.out, ::testing::EndsWith("\x1b[?1049l")) << "the terminal first, then the error";
  EXPECT_THAT(run.err, HasSubstr("not for you"));
}

}  // namespace
}  // namespace mantissa::cli
