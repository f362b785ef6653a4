// The commands against a real server over a socket: what they send, print and return.
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class CommandTest : public ::testing::Test {
 protected:
  CliRun Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments);
  }

  std::string WriteSpec(const std::string& text) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/command_test_", ::getpid(), ".yaml");
    std::ofstream(path) << text;
    return path;
  }

  FakeServer server_;
};

constexpr char kSpec[] =
    "name: digits\n"
    "training:\n"
    "  model: { mlp: { hidden: [8] } }\n"
    "  data: { train: { synthetic: {} } }\n"
    "  batch_size: 64\n";

TEST_F(CommandTest, SubmitSendsTheSpecAndPrintsTheId) {
  const CliRun run = Run({"submit", WriteSpec(kSpec), "--set", "training.batch_size=32", "--name", "other"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  ASSERT_THAT(server_.jobs().submitted(), SizeIs(1));
  const v1::SubmitJobRequest request = server_.jobs().submitted()[0];
  EXPECT_EQ(request.spec().training().batch_size(), 32);
  EXPECT_EQ(request.spec().name(), "other");
  EXPECT_THAT(request.request_id(), SizeIs(36));
  EXPECT_THAT(run.out, StartsWith("other submitted as job 01jsbmtted"));
  EXPECT_THAT(run.err, HasSubstr("mantissa watch 01jsbmtted"));
  EXPECT_THAT(run.err, HasSubstr(" --address " + server_.address())) << "the command suggested must reach this server";
}

TEST_F(CommandTest, SubmitPrintsOnlyTheIdForScripts) {
  EXPECT_EQ(Run({"submit", WriteSpec(kSpec), "-o", "name"}).out, "01jsbmtted0000000000000100\n");
}

TEST_F(CommandTest, SubmitRepeatsTheSameRequestWhileTheServerIsAway) {
  server_.jobs().FailNext("SubmitJob", grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting"));
  server_.jobs().FailNext("SubmitJob", ErrorWith(grpc::StatusCode::UNAVAILABLE, "standby", "STANDBY"));
  server_.jobs().FailNext("SubmitJob", grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED"));  // gRPC's, of an end
  const CliRun run = Run({"submit", WriteSpec(kSpec)});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  const auto requests = server_.jobs().submitted();
  ASSERT_THAT(requests, SizeIs(4));
  EXPECT_EQ(requests[0].request_id(), requests[3].request_id());
}

TEST_F(CommandTest, SubmitGivesUpAfterTheTimeItWasGiven) {
  for (int i = 0; i < 20; ++i)
    server_.jobs().FailNext("SubmitJob", grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  const CliRun run = Run({"submit", WriteSpec(kSpec), "--retry-for", "300ms"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr("MANTISSA_ADDRESS"));
}

TEST_F(CommandTest, SubmitRefusesABadFileBeforeItCallsAnybody) {
  const CliRun run = Run({"submit", WriteSpec("naem: a\npriority: x\n")});
  EXPECT_EQ(run.code, kExitUsage);
  EXPECT_THAT(run.err, AllOf(HasSubstr("(2 faults)"), HasSubstr(":1: naem: unknown key"), HasSubstr(":2: priority:")));
  EXPECT_THAT(server_.jobs().submitted(), IsEmpty());
  EXPECT_EQ(Run({"submit", "/nowhere.yaml"}).code, kExitUsage);
}

TEST_F(CommandTest, SubmitShowsEachViolationOfTheServerWithItsLine) {
  server_.jobs().FailNext("SubmitJob",
                          ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "the spec has 2 faults", "INVALID_SPEC",
                                    {{"training.batch_size", "must be at least 1, e.g. 64"},
                                     {"training.data.train.synthetic.samples", "must be at least 1"}}));
  const CliRun run = Run({"submit", WriteSpec(kSpec)});
  EXPECT_EQ(run.code, kExitUsage);
  EXPECT_THAT(run.err, HasSubstr("the spec has 2 faults [INVALID_SPEC]"));
  EXPECT_THAT(run.err, HasSubstr(".yaml:5: training.batch_size: must be at least 1, e.g. 64\n"));
  EXPECT_THAT(run.err, HasSubstr(".yaml:4: training.data.train.synthetic.samples: must be at least 1"));
}

TEST_F(CommandTest, SubmitAndWatchEndsWithTheJobsOwnCode) {
  v1::Job ended = ExampleJob(v1::Job::SUCCEEDED);
  server_.jobs().AddWatch(
      [&](const v1::WatchJobRequest& request, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>* writer) {
        ended.set_id(request.job_id());
        ended.mutable_progress()->set_loss(std::nan(""));
        server_.jobs().SetJob(ended);
        writer->Write(Frame({EventSegment(StartedEvent(), 1), RecordsSegment({{.iteration = 1, .step = 1}}, 2)}));
        writer->Write(EndFrame(ended));
        return grpc::Status::OK;
      });
  const CliRun table = Run({"submit", WriteSpec(kSpec), "--watch"});
  EXPECT_EQ(table.code, kExitOk) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("submitted as job"), HasSubstr("training on cpu"),
                               HasSubstr("digits-fp16   SUCCEEDED"), HasSubstr("mantissa download 01jsbmtted")));
  const CliRun json = Run({"submit", WriteSpec(kSpec), "--watch", "-o", "json"});
  EXPECT_EQ(json.code, kExitOk);
  EXPECT_EQ(nlohmann::json::parse(json.out)["state"], "SUCCEEDED") << "stdout holds one document and nothing else";
  EXPECT_EQ(nlohmann::json::parse(json.out)["progress"]["loss"], "NaN");
  EXPECT_THAT(json.err, HasSubstr("training on cpu"));
}

TEST_F(CommandTest, ValidateChecksHereAndAsksTheServer) {
  const std::string good = WriteSpec(kSpec);
  EXPECT_THAT(Run({"validate", good}).out, HasSubstr("is a good job spec (checked here and by the server)"));
  ASSERT_THAT(server_.jobs().submitted(), SizeIs(1));
  EXPECT_TRUE(server_.jobs().submitted()[0].validate_only());
  EXPECT_THAT(Run({"validate", good, "--local"}).out, HasSubstr("(checked here)"));
  EXPECT_THAT(server_.jobs().submitted(), SizeIs(1));
}

TEST_F(CommandTest, ValidateReportsAllViolationsWithLines) {
  const CliRun run = Run({"validate", WriteSpec("name: Bad Name\ntraining:\n  batch_size: 0\n")});
  EXPECT_EQ(run.code, kExitUsage);
  EXPECT_THAT(run.err, AllOf(HasSubstr(".yaml:1: name: "), HasSubstr(".yaml:3: training.batch_size: "),
                             HasSubstr("training.model"), HasSubstr("[REQUIRED]"), HasSubstr("[OUT_OF_RANGE]")));
  const CliRun json = Run({"validate", WriteSpec("training:\n  batch_size: 0\n"), "-o", "json"});
  EXPECT_EQ(json.code, kExitUsage);
  const nlohmann::json report = nlohmann::json::parse(json.out);
  EXPECT_EQ(report["valid"], false);
  EXPECT_GE(report["violations"].size(), 2u);
  EXPECT_THAT(server_.jobs().submitted(), IsEmpty());
}

TEST_F(CommandTest, ArgumentsThatAreNotUtf8AreTakenForWhatTheyAre) {
  const std::string spec = WriteSpec(kSpec);
  const std::string latin1 = spec + "\xe9";
  std::filesystem::copy_file(spec, latin1, std::filesystem::copy_options::overwrite_existing);
  const CliRun file = Run({"validate", "--local", latin1, "-o", "json"});
  EXPECT_EQ(file.code, kExitOk);
  EXPECT_EQ(nlohmann::json::parse(file.out)["valid"], true);
  EXPECT_EQ(Run({"validate", "--local", spec, "--name", "caf\xe9", "-o", "json"}).code, kExitUsage);
  const CliRun set = Run({"validate", "--local", spec, "--set", "labels.team=caf\xe9"});
  EXPECT_EQ(set.code, kExitUsage);
  EXPECT_THAT(set.err, HasSubstr("not UTF-8"));
}

TEST_F(CommandTest, ValidateRefusesAnInitialScaleOfZeroOrNan) {
  for (const char* scale : {"0", ".nan", ".inf", "-1"}) {
    const CliRun run =
        Run({"validate", "--local",
             WriteSpec(absl::StrCat(kSpec, "  precision: { mode: FP16, loss_scale: { init: ", scale, " } }\n"))});
    EXPECT_EQ(run.code, kExitUsage) << scale;
    EXPECT_THAT(run.err, HasSubstr(".yaml:6: training.precision.loss_scale.init: ")) << scale;
  }
}

TEST_F(CommandTest, ListFiltersAndPages) {
  for (int i = 0; i < 7; ++i) {
    v1::Job job = ExampleJob(i % 2 == 0 ? v1::Job::RUNNING : v1::Job::QUEUED);
    job.set_id(absl::StrCat("01jlist000000000000000000", i));
    server_.jobs().AddJob(job);
  }
  const CliRun running = Run({"list", "--state", "running", "--label", "team=nlp", "-o", "json"});
  EXPECT_EQ(running.code, kExitOk) << running.err;
  EXPECT_EQ(nlohmann::json::parse(running.out)["jobs"].size(), 4u);
  EXPECT_EQ(server_.jobs().listed().back().filter().labels().at("team"), "nlp");
  const CliRun three = Run({"list", "--limit", "3"});
  EXPECT_THAT(three.out, AllOf(HasSubstr("NAME"), HasSubstr("01jlist0000000000000000006"), Not(HasSubstr("0003"))));
  EXPECT_THAT(three.err, HasSubstr("there are more"));
  EXPECT_EQ(Run({"list", "-o", "name"}).out, "digits-fp16\n") << "each name once";
  EXPECT_EQ(Run({"list", "--state", "busy"}).code, kExitUsage);
  EXPECT_THAT(Run({"list", "--state", "busy"}).err, HasSubstr("QUEUED, STARTING"));
  EXPECT_EQ(Run({"list", "--label", "team"}).code, kExitUsage);
}

TEST_F(CommandTest, FindsAJobByIdByNameAndByTheBeginningOfItsId) {
  v1::Job older = ExampleJob(), newer = ExampleJob();
  older.set_id("01jaaa0000000000000000000a");
  newer.set_id("01jaab0000000000000000000b");
  newer.mutable_spec()->mutable_labels()->insert({"which", "newer"});
  server_.jobs().AddJob(older);
  server_.jobs().AddJob(newer);
  const auto id_of = [&](const std::string& reference) {
    const CliRun run = Run({"get", reference, "-o", "name"});
    return run.code == kExitOk ? run.out : absl::StrCat("exit ", run.code, ": ", run.err);
  };
  EXPECT_EQ(id_of("01jaaa0000000000000000000a"), "01jaaa0000000000000000000a\n");
  EXPECT_EQ(id_of("digits-fp16"), "01jaab0000000000000000000b\n") << "the newest of the name";
  EXPECT_EQ(id_of("01jaaa"), "01jaaa0000000000000000000a\n");
  EXPECT_THAT(id_of("01jaa"), AllOf(StartsWith("exit 2"), HasSubstr("begins the ids of 2 jobs")));
  EXPECT_THAT(id_of("nobody"), AllOf(StartsWith("exit 5"), HasSubstr("mantissa list")));
  EXPECT_THAT(id_of("01jzzz0000000000000000000z"), AllOf(StartsWith("exit 5"), HasSubstr("[JOB_NOT_FOUND]")));
}

TEST_F(CommandTest, GetSaysWhatInterventionsHaveMadeOfAJob) {
  v1::Job job = ExampleJob();
  v1::Lineage& lineage = *job.mutable_lineage();
  lineage.set_number(4);
  lineage.set_precision(v1::PrecisionSpec::BF16);
  lineage.set_learning_rate_factor(0.25);
  lineage.set_rollbacks(2);
  lineage.add_skipped_windows()->set_last(2);
  lineage.add_skipped_windows()->set_first(10);
  lineage.mutable_skipped_windows(1)->set_last(59);
  server_.jobs().AddJob(job);
  EXPECT_THAT(
      Run({"get", "digits-fp16"}).out,
      AllOf(HasSubstr("\nprecision        FP16 → BF16\n"),
            HasSubstr("\nlineage          4, rolled back twice, learning rate x 0.250, 53 windows left out\n")));
  const nlohmann::json json = nlohmann::json::parse(Run({"get", "digits-fp16", "-o", "json"}).out);
  EXPECT_EQ(json["lineage"]["precision"], "BF16");
}

TEST_F(CommandTest, GetPrintsAllThreeForms) {
  server_.jobs().AddJob(ExampleJob());
  v1::Job steady = ExampleJob();
  v1::PrecisionStats& stats = *steady.mutable_progress()->mutable_precision();
  steady.mutable_progress()->set_iteration(1000);
  stats.set_window(1000);
  stats.set_stability_score(0.998);
  stats.set_verdict(v1::PrecisionStats::STABLE);
  stats.set_loss_scale(16384);
  stats.set_backoffs(2);
  stats.set_growths(1);
  server_.jobs().SetJob(steady);
  EXPECT_THAT(Run({"get", "digits-fp16"}).out,
              HasSubstr("stability        0.9980 STABLE (2 backoffs, 1 growth in 1000 iterations)\n"));
  EXPECT_THAT(Run({"get", "digits-fp16"}).out,
              AllOf(HasSubstr("name             digits-fp16\n"), HasSubstr("RUNNING")));
  EXPECT_EQ(nlohmann::json::parse(Run({"get", "digits-fp16", "-o", "json"}).out)["attempt"], 1);
  EXPECT_THAT(Run({"get", "digits-fp16", "-o", "yaml"}).out, HasSubstr("\nstate: RUNNING\n"));
  EXPECT_THAT(Run({"get", "digits-fp16"}).out, Not(HasSubstr("finding"))) << "no study";
}

TEST_F(CommandTest, CancelGoesOnAfterOneThatFails) {
  server_.jobs().AddJob(ExampleJob());
  const CliRun run = Run({"cancel", "nobody", "digits-fp16"});
  EXPECT_EQ(run.code, kExitNotFound);
  EXPECT_THAT(server_.jobs().cancelled(), ElementsAre("01jdgts000000000000000000a"));
  EXPECT_THAT(run.out, HasSubstr("is CANCELLING"));
}

TEST_F(CommandTest, PauseResumeRequeueAndDeleteAskForEachJob) {
  server_.jobs().AddJob(ExampleJob());
  const std::string id = ExampleJob().id();
  EXPECT_THAT(Run({"pause", "digits-fp16"}).out, HasSubstr("(" + id + ") is PAUSING\n"));
  EXPECT_THAT(Run({"resume", id}).out, HasSubstr("is QUEUED"));
  EXPECT_THAT(Run({"requeue", id}).out, HasSubstr("is RUNNING"));
  EXPECT_EQ(Run({"pause", id, "-o", "name"}).out, id + "\n");
  EXPECT_EQ(nlohmann::json::parse(Run({"resume", id, "-o", "json"}).out)["jobs"][0]["state"], "QUEUED");
  EXPECT_THAT(Run({"delete", id}).out, HasSubstr("(" + id + ") is deleted"));
  EXPECT_THAT(server_.jobs().asked(),
              ElementsAre("pause " + id, "resume " + id, "pause " + id, "resume " + id, "delete " + id));
  server_.jobs().FailNext("pause",
                          ErrorWith(grpc::StatusCode::FAILED_PRECONDITION, "the job has ended", "WRONG_STATE"));
  const CliRun refused = Run({"pause", "nobody", id, id});
  EXPECT_EQ(refused.code, kExitNotFound) << "the first failure";
  EXPECT_THAT(refused.err, HasSubstr("the job has ended [WRONG_STATE]"));
  EXPECT_THAT(refused.out, HasSubstr("is PAUSING")) << "and yet the third was asked for";
}

TEST_F(CommandTest, UpdateSendsWhatWasSetAndNamesIt) {
  v1::Job job = ExampleJob();
  job.set_etag("7");
  (*job.mutable_spec()->mutable_labels())["team"] = "vision";
  server_.jobs().AddJob(job);
  const CliRun run = Run({"update", job.id(), "--set", "priority=5", "--set", "labels.team=nlp", "--set",
                          "timeouts.total=2h", "--set", "timeouts.queue=1h"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("is updated; its spec is revision 2"));
  ASSERT_THAT(server_.jobs().updated(), SizeIs(1));
  const v1::UpdateJobRequest asked = server_.jobs().updated()[0];
  EXPECT_EQ(asked.etag(), "7");
  EXPECT_EQ(asked.spec().priority(), 5);
  EXPECT_EQ(asked.spec().labels().at("team"), "nlp");
  EXPECT_EQ(asked.spec().timeouts().total().seconds(), 7'200);
  EXPECT_THAT(asked.update_mask().paths(), ElementsAre("labels", "priority", "timeouts"));
  EXPECT_EQ(Run({"update", job.id(), "--set", "priority=high"}).code, kExitUsage);
  EXPECT_EQ(Run({"update", job.id()}).code, kExitUsage) << "nothing to change";
}

TEST_F(CommandTest, CloneSubmitsTheSpecOnceMore) {
  v1::Job job = ExampleJob();
  job.mutable_spec()->mutable_training()->set_batch_size(64);
  server_.jobs().AddJob(job);
  const CliRun run =
      Run({"clone", job.id(), "--set", "training.batch_size=32", "--name", "second", "--from-checkpoint"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  ASSERT_THAT(server_.jobs().submitted(), SizeIs(1));
  const v1::SubmitJobRequest submitted = server_.jobs().submitted()[0];
  EXPECT_EQ(submitted.spec().name(), "second");
  EXPECT_EQ(submitted.spec().training().batch_size(), 32);
  EXPECT_EQ(submitted.spec().training().init_from().job_id(), job.id());
  EXPECT_THAT(submitted.request_id(), SizeIs(36));
  EXPECT_THAT(run.out, StartsWith("second submitted as job"));
}

TEST_F(CommandTest, DrainSaysWhatBecomesOfTheWorker) {
  EXPECT_THAT(Run({"drain", "ws-1"}).out, HasSubstr("ws-1 is drained: it takes no more work; 1 job saves and goes on"));
  EXPECT_EQ(Run({"drain", "ws-1", "--undo"}).out, "ws-1 takes work again\n");
  EXPECT_TRUE(nlohmann::json::parse(Run({"drain", "ws-1", "-o", "json"}).out)["draining"]);
}

TEST_F(CommandTest, CancelTakesAFilterInsteadOfJobs) {
  server_.jobs().AddJob(ExampleJob());
  const CliRun dry = Run({"cancel", "--state", "queued", "--label", "team=nlp", "--name", "sweep", "--dry-run"});
  EXPECT_EQ(dry.code, kExitOk);
  EXPECT_EQ(dry.out, "01jdgts000000000000000000a\n");
  EXPECT_THAT(dry.err, HasSubstr("would cancel 1 job\n"));
  const CliRun run = Run({"cancel", "--state", "queued", "--state", "running"});
  EXPECT_THAT(run.err, HasSubstr("cancelled 1 job\n"));
  EXPECT_EQ(nlohmann::json::parse(Run({"cancel", "--name", "sweep", "-o", "json"}).out)["job_ids"][0],
            "01jdgts000000000000000000a");

  const std::vector<v1::CancelJobsRequest> asked = server_.jobs().cancelled_by_filter();
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_TRUE(asked[0].validate_only());
  EXPECT_THAT(asked[0].filter().states(), ElementsAre(v1::Job::QUEUED));
  EXPECT_EQ(asked[0].filter().labels().at("team"), "nlp");
  EXPECT_EQ(asked[0].filter().name(), "sweep");
  EXPECT_FALSE(asked[1].validate_only());
  EXPECT_THAT(asked[1].filter().states(), ElementsAre(v1::Job::QUEUED, v1::Job::RUNNING));
  EXPECT_THAT(server_.jobs().cancelled(), ::testing::IsEmpty());
}

TEST_F(CommandTest, CancelNeedsJobsOrAFilterAndNotBoth) {
  server_.jobs().AddJob(ExampleJob());
  for (const std::vector<std::string>& line :
       std::vector<std::vector<std::string>>{{"cancel"},
                                             {"cancel", "--dry-run"},
                                             {"cancel", "digits-fp16", "--dry-run"},
                                             {"cancel", "digits-fp16", "--state", "queued"},
                                             {"cancel", "--state", "asleep"},
                                             {"cancel", "--label", "nlp"}}) {
    EXPECT_EQ(Run(line).code, kExitUsage) << line.back();
  }
  EXPECT_THAT(server_.jobs().cancelled(), ::testing::IsEmpty());
  EXPECT_THAT(server_.jobs().cancelled_by_filter(), ::testing::IsEmpty());
}

TEST_F(CommandTest, LogsAreCopiedByteForByteToAPipe) {
  server_.jobs().AddJob(ExampleJob());
  server_.jobs().SetLog("step 1\n\x1b[31mred\x1b[0m \xff\n");
  EXPECT_EQ(Run({"logs", "digits-fp16"}).out, "step 1\n\x1b[31mred\x1b[0m \xff\n");
  EXPECT_EQ(RunCli({"logs", "digits-fp16", "--address", server_.address()}, {.terminal = true}).out,
            "step 1\n?[31mred?[0m \xff\n");
}

// U+009B begins an escape sequence as ESC [ does.
TEST_F(CommandTest, LogsDriveNoTerminalWithCharactersOfC1) {
  server_.jobs().AddJob(ExampleJob());
  server_.jobs().SetLog("a\u009b31m \u00e9 \u201b\n");
  CliWorld world{.terminal = true};
  const std::vector<std::string> logs = {"logs", "digits-fp16", "--address", server_.address()};
  EXPECT_EQ(RunCli(logs, world).out, "a\xc2?31m \u00e9 \u201b\n");
  world.environment["LANG"] = "C";
  server_.jobs().SetLog(
      "a\x9b"
      "31m\n");
  EXPECT_EQ(RunCli(logs, world).out, "a?31m\n");
}

TEST_F(CommandTest, LogsGoOnWhereTheConnectionBroke) {
  server_.jobs().AddJob(ExampleJob());
  server_.jobs().SetLog("0123456789");
  server_.jobs().FailNext("ReadLogs", grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting"));
  EXPECT_EQ(Run({"logs", "-f", "digits-fp16"}).out, "0123456789");
}

struct FailureCase {
  grpc::StatusCode code;
  int exit_code;
};

TEST_F(CommandTest, EachKindOfFailureHasItsExitCode) {
  for (const FailureCase& c : {FailureCase{grpc::StatusCode::UNAUTHENTICATED, kExitNotAuthorised},
                               FailureCase{grpc::StatusCode::PERMISSION_DENIED, kExitNotAuthorised},
                               FailureCase{grpc::StatusCode::NOT_FOUND, kExitNotFound},
                               FailureCase{grpc::StatusCode::UNAVAILABLE, kExitUnavailable},
                               FailureCase{grpc::StatusCode::DEADLINE_EXCEEDED, kExitTimedOut},
                               FailureCase{grpc::StatusCode::INVALID_ARGUMENT, kExitUsage},
                               FailureCase{grpc::StatusCode::RESOURCE_EXHAUSTED, kExitError},
                               FailureCase{grpc::StatusCode::INTERNAL, kExitError}}) {
    server_.jobs().FailNext("ListJobs", ErrorWith(c.code, "no", "SOME_REASON"));
    const CliRun run = Run({"list"});
    EXPECT_EQ(run.code, c.exit_code) << c.code;
    EXPECT_THAT(run.out, IsEmpty());
    EXPECT_THAT(run.err, HasSubstr("[SOME_REASON]"));
  }
}

// It is gRPC that cancels it, and nobody was interrupted.
TEST_F(CommandTest, ACallThatAnEndingServerTurnsAwayMayBeTriedAgain) {
  server_.jobs().FailNext("ListJobs", grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED"));
  const CliRun run = Run({"list"});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr("was about to end and did not take the call; try again"));

  server_.jobs().AddJob(ExampleJob());
  server_.jobs().SetLog("0123456789");
  server_.jobs().FailNext("ReadLogs", grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED"));
  EXPECT_EQ(Run({"logs", "-f", "digits-fp16"}).out, "0123456789");
}

TEST_F(CommandTest, ShowsNoControlCharactersOfTheServer) {
  server_.jobs().FailNext("ListJobs", ErrorWith(grpc::StatusCode::INTERNAL, "a\x1b[2Jb", "R\x1b"));
  const CliRun run = Run({"list"});
  EXPECT_EQ(run.err.find('\x1b'), std::string::npos);
}

TEST(Usage, MistakesOfTheCommandLineAreExitTwo) {
  EXPECT_EQ(RunCli({}).code, kExitUsage);
  const CliRun unknown = RunCli({"sumbit", "x"});
  EXPECT_EQ(unknown.code, kExitUsage);
  EXPECT_THAT(unknown.err, HasSubstr("there is no command sumbit; did you mean submit?"));
  EXPECT_EQ(RunCli({"get"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"get", "a", "--no-such"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"list", "-o", "xml"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"list", "--limit", "0"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"wait", "a", "--timeout", "soon"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"watch", "a", "--from-now", "--cursor", "x"}).code, kExitUsage);
  EXPECT_THAT(RunCli({"--help"}).out, HasSubstr("Exit codes:"));
  EXPECT_EQ(RunCli({"--help"}).code, kExitOk);
  EXPECT_EQ(RunCli({"submit", "--help"}).code, kExitOk);
  EXPECT_EQ(RunCli({"version"}).code, kExitOk);
  EXPECT_TRUE(nlohmann::json::parse(RunCli({"version", "-o", "json"}).out).contains("version"));
}

}  // namespace
}  // namespace mantissa::cli
