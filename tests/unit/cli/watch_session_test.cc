// A watch through what can happen to it: ends, reconnects, Ctrl-C, time.
#include <csignal>
#include <string>
#include <unistd.h>

#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kId[] = "01jdgts000000000000000000a";

class WatchSessionTest : public ::testing::Test {
 protected:
  WatchSessionTest() { server_.jobs().AddJob(ExampleJob()); }

  CliRun Run(std::vector<std::string> arguments, const CliWorld& world = {}) {
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments, world);
  }

  // What the server says after the end.
  v1::Job End(v1::Job::State state) {
    const v1::Job job = ExampleJob(state);
    server_.jobs().SetJob(job);
    return job;
  }

  // Stays open until the client goes, having run `first`.
  static FakeJobService::Watch Hangs(std::function<void()> first) {
    return [first = std::move(first)](const v1::WatchJobRequest&, grpc::ServerContext* context,
                                      grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      v1::WatchJobResponse live;
      live.set_live(true);
      writer->Write(live);
      first();
      while (!context->IsCancelled()) ::usleep(1000);  // gRPC's synchronous server has nothing to wait on
      return grpc::Status::CANCELLED;
    };
  }

  FakeServer server_;
};

TEST_F(WatchSessionTest, EndsWithTheJob) {
  server_.jobs().AddWatch(FakeJobService::Sends(
      {Frame({EventSegment(StartedEvent(), 1), EventSegment(OverflowEventAt(3, 32768, 16384), 2)}),
       EndFrame(ExampleJob(v1::Job::SUCCEEDED))}));
  v1::Job before = ExampleJob();
  End(v1::Job::SUCCEEDED);
  const CliRun run = Run({"watch", "digits-fp16"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("12:01:07  iteration 3 skipped: overflow, first in head.weight (17 Inf of 1280); "
                              "scale 32768 → 16384\n"),
                    HasSubstr("digits-fp16   SUCCEEDED")));
  EXPECT_EQ((run.out + run.err).find('\x1b'), std::string::npos) << "no escape codes where there is no terminal";
  EXPECT_TRUE(server_.jobs().watched()[0].has_beginning());
}

TEST_F(WatchSessionTest, AFailedOrCancelledJobIsExitThree) {
  for (const v1::Job::State state : {v1::Job::FAILED, v1::Job::CANCELLED}) {
    server_.jobs().AddWatch(FakeJobService::Sends({EndFrame(ExampleJob(state))}));
    server_.jobs().AddWatch(FakeJobService::Sends({EndFrame(ExampleJob(state))}));
    End(state);
    EXPECT_EQ(Run({"watch", kId}).code, kExitJobFailed);
    EXPECT_EQ(Run({"wait", kId}).code, kExitJobFailed);
  }
}

TEST_F(WatchSessionTest, GoesOnByCursorAfterTheServerWentAway) {
  server_.jobs().AddWatch(
      [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>* writer) {
        writer->Write(Frame({EventSegment(StartedEvent(), 1), RecordsSegment({{.iteration = 1}}, 2)}));
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server stops");
      });
  server_.jobs().AddWatch(
      [&](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>* writer) {
        writer->Write(Frame({EventSegment(EvaluationEvent(2, 0.9), 3)}));
        writer->Write(EndFrame(End(v1::Job::SUCCEEDED)));
        return grpc::Status::OK;
      });
  const CliRun run = Run({"watch", kId});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  ASSERT_THAT(server_.jobs().watched(), SizeIs(2));
  EXPECT_EQ(server_.jobs().watched()[1].cursor(), "after-2");
  EXPECT_THAT(run.err, AllOf(HasSubstr("trying again, the job is not touched"), HasSubstr("the server is back")));
  EXPECT_THAT(run.out, HasSubstr("evaluation at step 2"));
}

TEST_F(WatchSessionTest, AStreamThatIsClosedBeforeTheEndIsOpenedAgain) {
  server_.jobs().AddWatch(FakeJobService::Sends({Frame({EventSegment(StartedEvent(), 1)})}));
  server_.jobs().AddWatch(FakeJobService::Sends({EndFrame(ExampleJob(v1::Job::SUCCEEDED))}));
  End(v1::Job::SUCCEEDED);
  EXPECT_EQ(Run({"watch", kId}).code, kExitOk);
  ASSERT_THAT(server_.jobs().watched(), SizeIs(2));
  EXPECT_EQ(server_.jobs().watched()[1].cursor(), "after-1");
}

TEST_F(WatchSessionTest, GivesUpOnAServerThatStaysAwayAndSaysHowToGoOn) {
  server_.jobs().AddWatch(
      [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
      });
  const CliRun run = Run({"watch", kId, "--retry-for", "300ms"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr(std::string("watch it again: mantissa watch ") + kId));
}

TEST_F(WatchSessionTest, AnErrorThatWaitingCanNotCureEndsTheWatch) {
  server_.jobs().AddWatch(
      [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
        return ErrorWith(grpc::StatusCode::PERMISSION_DENIED, "not yours", "FORBIDDEN");
      });
  const CliRun run = Run({"watch", kId});
  EXPECT_EQ(run.code, kExitNotAuthorised);
  EXPECT_THAT(server_.jobs().watched(), SizeIs(1));
}

TEST_F(WatchSessionTest, AnExpiredCursorTellsWhatIsThereOnce) {
  server_.jobs().AddWatch(
      [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
        return ErrorWith(grpc::StatusCode::OUT_OF_RANGE, "too old", "CURSOR_EXPIRED");
      });
  server_.jobs().AddWatch(
      FakeJobService::Sends({Frame({EventSegment(StartedEvent(), 1)}), EndFrame(ExampleJob(v1::Job::SUCCEEDED))}));
  End(v1::Job::SUCCEEDED);
  const CliRun run = Run({"watch", kId, "--cursor", "old"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  ASSERT_THAT(server_.jobs().watched(), SizeIs(2));
  EXPECT_EQ(server_.jobs().watched()[0].cursor(), "old");
  EXPECT_TRUE(server_.jobs().watched()[1].has_beginning());
  EXPECT_THAT(run.out, AllOf(HasSubstr("no longer kept"), HasSubstr("training on cpu")));
}

TEST_F(WatchSessionTest, CtrlCDetachesAndSaysHowToGoOn) {
  for (const bool terminal : {false, true}) {
    server_.jobs().AddWatch(Hangs([] { ::kill(::getpid(), SIGINT); }));
    const CliRun run = Run({"watch", kId}, {.terminal = terminal});
    EXPECT_EQ(run.code, kExitInterrupted);
    EXPECT_THAT(run.err, AllOf(HasSubstr("detached; the job goes on"), HasSubstr(std::string("mantissa watch ") + kId),
                               HasSubstr(std::string("mantissa cancel ") + kId)));
    if (terminal) {
      EXPECT_THAT(run.out, ::testing::EndsWith("\x1b[?25h"));
    }
  }
  EXPECT_THAT(server_.jobs().cancelled(), ::testing::IsEmpty());
}

TEST_F(WatchSessionTest, WaitEndsAfterItsTimeout) {
  server_.jobs().AddWatch(Hangs([] {}));
  const CliRun run = Run({"wait", kId, "--timeout", "200ms"});
  EXPECT_EQ(run.code, kExitTimedOut);
  EXPECT_TRUE(server_.jobs().watched()[0].has_now());
  EXPECT_TRUE(server_.jobs().watched()[0].filter().events_only());
}

TEST_F(WatchSessionTest, WaitSaysNothingButTheEnd) {
  server_.jobs().AddWatch(
      FakeJobService::Sends({Frame({EventSegment(StartedEvent(), 1)}), EndFrame(ExampleJob(v1::Job::SUCCEEDED))}));
  End(v1::Job::SUCCEEDED);
  const CliRun run = Run({"wait", kId, "-o", "json"});
  EXPECT_EQ(run.code, kExitOk);
  EXPECT_EQ(nlohmann::json::parse(run.out)["state"], "SUCCEEDED");
  EXPECT_EQ(run.err, "");
}

TEST_F(WatchSessionTest, JsonIsOneFrameALineAndNothingElse) {
  const std::vector<Record> records = {{.iteration = 1, .loss = std::nan("")}};
  server_.jobs().AddWatch(
      FakeJobService::Sends({Frame({RecordsSegment(records, 1)}), EndFrame(ExampleJob(v1::Job::SUCCEEDED))}));
  End(v1::Job::SUCCEEDED);
  const CliRun run = Run({"watch", kId, "-o", "json"});
  EXPECT_EQ(run.code, kExitOk);
  const std::vector<std::string> lines = absl::StrSplit(run.out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(2));
  const nlohmann::json first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["segments"][0]["records"]["columns"][2]["doubles"]["values"][0], "NaN");
  EXPECT_EQ(first["next_cursor"], "after-1");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["end"], true);
}

TEST_F(WatchSessionTest, ALongReplayArrivesWhole) {
  server_.jobs().AddWatch(
      [&](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>* writer) {
        for (int i = 1; i <= 2000; ++i) writer->Write(Frame({RecordsSegment({{.iteration = i}}, i)}));
        writer->Write(EndFrame(End(v1::Job::SUCCEEDED)));
        return grpc::Status::OK;
      });
  const CliRun run = Run({"watch", kId, "-o", "json"});
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 2001);
}

TEST_F(WatchSessionTest, TheEndIsKnownThoughTheServerGoesRightAfterIt) {
  server_.jobs().AddWatch(
      [&](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>* writer) {
        server_.jobs().FailNext("GetJob", grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
        writer->Write(EndFrame(ExampleJob(v1::Job::FAILED)));
        return grpc::Status::OK;
      });
  const CliRun run = Run({"watch", kId});
  EXPECT_EQ(run.code, kExitJobFailed);
  EXPECT_THAT(run.out, HasSubstr("digits-fp16   FAILED"));
}

}  // namespace
}  // namespace mantissa::cli
